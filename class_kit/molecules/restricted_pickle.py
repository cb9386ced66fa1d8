"""Reading the data of a published pickle without running it; the only place in the kit where a pickle is read.

A pickle is a program. `pickle.load` runs it and trusts a list of exceptions to keep it harmless. Here the opcodes are
taken one by one from `pickletools` and carried out by the small machine below, which imports nothing, calls nothing
that the file names, and knows only how to build numbers, strings, plain containers and numeric arrays. The classes of
gensim become `Record`s, which hold attributes and do nothing. Whatever else a file asks for is refused by name.

What a file can cost is bounded as well: all sizes are checked against the bytes that are there, what is copied must
stay in proportion to the file, the memo is a dictionary, so that a large index reserves no memory, and keys of
dictionaries and sets are plain values, so that hashing them takes no time to speak of.
"""

from __future__ import annotations

import io
import os
import pickletools
import tokenize
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.errors import InputError
from class_kit.molecules.pickle_values import (
    MAX_BYTES,
    ArrayCell,
    Dtype,
    Name,
    Record,
    allowed_name,
    build,
    fill_dtype,
    fill_record,
    filled_array,
    plain_keys,
    plain_pairs,
)

_MARK = object()
_DAMAGE = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError)
# NumPy reads the header of an `.npy` file as a Python literal, after a second try as one of Python 2
BAD_HEADER = (ValueError, SyntaxError, RecursionError, tokenize.TokenError)
# a pickle writes each value once; one that has the same value copied again and again is made to fill the memory
_COPIES = 4


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """The data of a pickle file, or of an `.npy` file that holds a pickled object.

    Returns
    -------
    Any
        Numbers, strings, bytes, lists, tuples, dicts, sets, numeric `numpy.ndarray`s, lists in place of object
        arrays (an object array of no dimension gives its one element), and `Record`s for gensim's classes. Strings
        of Python 2 are read as Latin-1.

    Raises
    ------
    InputError
        The file is missing, larger than 1 GiB, damaged, or asks for anything but data; the message names what.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{file} has {size:,} bytes: expected at most {MAX_BYTES:,} in a file of word vectors")
        content = file.read_bytes()
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    try:
        stream = io.BytesIO(content)
        if content.startswith(b"\x93NUMPY"):
            _skip_npy_header(stream)
        with warnings.catch_warnings():
            # what Python has to say about the spelling of old strings is of no use to a reader of vectors
            warnings.simplefilter("ignore")
            return _Machine(_COPIES * len(content)).run(stream)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except (*_DAMAGE, *BAD_HEADER) as error:
        raise InputError(f"{file} is damaged or not a pickle of word vectors: {str(error)[:200]}") from error


def _skip_npy_header(stream: io.BytesIO) -> None:
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    _, _, dtype = read[np.lib.format.read_magic(stream)](stream)
    if not dtype.hasobject:
        raise InputError(f"holds an array of {dtype}: expected a pickled dictionary of word vectors")


class _Machine:
    """Carries out the opcodes of one pickle on a stack, as the format describes them."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self, stream: io.BytesIO) -> Any:
        for opcode, argument, _ in pickletools.genops(stream):
            if opcode.name == "STOP":
                break
            if opcode.name in _PUSHED:
                self.stack.append(argument)
                continue
            action = _ACTIONS.get(opcode.name)
            if action is None:
                raise InputError(f"uses the pickle operation {opcode.name}, which data does not need")
            action(self, argument)
        if len(self.stack) != 1 or self.stack[0] is _MARK:
            raise InputError(f"leaves {len(self.stack)} values or open groups where a pickle leaves one value")
        return self.stack.pop()

    def above_mark(self) -> list[Any]:
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                items = self.stack[place + 1 :]
                del self.stack[place:]
                return items
        raise InputError("closes a group that it never opened")

    def last(self, count: int) -> list[Any]:
        items = self.stack[-count:]
        if len(items) != count or any(item is _MARK for item in items):
            raise InputError("takes more values than it made")
        del self.stack[-count:]
        return items

    def spend(self, values: Any) -> None:
        """Count the lengths of what a constructor or a state is about to copy."""
        parts = values if type(values) is tuple else (values,)
        self.budget -= sum(len(part) for part in parts if isinstance(part, list | dict | str | bytes | bytearray))
        if self.budget < 0:
            raise InputError("copies far more than it holds, which data does not need")

    def put(self, argument: Any) -> None:
        (value,) = self.last(1)
        self.stack.append(value)
        place = len(self.memo) if argument is None else argument
        self.memo[place] = value
        if isinstance(value, ArrayCell):
            value.places.append(place)

    def get(self, argument: int) -> None:
        self.stack.append(self.memo[argument])

    def global_name(self, argument: str | None) -> None:
        if argument is None:
            module, name = self.last(2)
            if not (isinstance(module, str) and isinstance(name, str)):
                raise InputError("names a class by something that is not text")
        else:
            module, name = argument.split(" ", 1)
        self.stack.append(allowed_name(module, name))

    def append_to(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise InputError(f"appends to a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise InputError(f"sets items of a {type(target).__name__}")
        target.update(plain_pairs(items))

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise InputError(f"adds members to a {type(target).__name__}")
        target.update(plain_keys(items))

    def call(self) -> None:
        function, arguments = self.last(2)
        if not isinstance(function, Name) or type(arguments) is not tuple:
            raise InputError("calls something that is not a named class")
        self.spend(arguments)
        self.stack.append(build(function, arguments))

    def new_record(self, name: Any) -> None:
        if not (isinstance(name, Name) and name.inert):
            raise InputError(f"makes an instance of {name.full if isinstance(name, Name) else type(name).__name__}")
        self.stack.append(Record(name.full))

    def set_state(self) -> None:
        target, state = self.last(2)
        self.stack.append(target)
        self.spend(state)
        if isinstance(target, Record):
            fill_record(target, state)
        elif isinstance(target, Dtype):
            fill_dtype(target, state)
        elif isinstance(target, ArrayCell):
            self.stack[-1] = filled_array(state)
            self.memo.update(dict.fromkeys(target.places, self.stack[-1]))
        else:
            raise InputError(f"sets the state of a {type(target).__name__}")


_PUSHED = {
    *("NONE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
    *("FLOAT", "BINFLOAT", "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE"),
    *("BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}


def _new_instance(machine: _Machine, count: int) -> None:
    machine.new_record(machine.last(count)[0])


def _old_style_instance(machine: _Machine, argument: str | None) -> None:
    arguments = machine.above_mark()
    if argument is not None:
        machine.global_name(argument)
        arguments = machine.last(1) + arguments
    machine.new_record(arguments[0])


_ACTIONS: dict[str, Callable[[_Machine, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": lambda machine, _: machine.stack.append(_MARK),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), _Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), _Machine.get),
    "NEWTRUE": lambda machine, _: machine.stack.append(True),
    "NEWFALSE": lambda machine, _: machine.stack.append(False),
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_SET": lambda machine, _: machine.stack.append(set()),
    "LIST": lambda machine, _: machine.stack.append(machine.above_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.stack.append(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.stack.append(tuple(machine.last(3))),
    "DICT": lambda machine, _: machine.stack.append(dict(plain_pairs(machine.above_mark()))),
    "FROZENSET": lambda machine, _: machine.stack.append(set(plain_keys(machine.above_mark()))),
    "APPEND": lambda machine, _: machine.append_to(machine.last(1)),
    "APPENDS": lambda machine, _: machine.append_to(machine.above_mark()),
    "SETITEM": lambda machine, _: machine.set_items(machine.last(2)),
    "SETITEMS": lambda machine, _: machine.set_items(machine.above_mark()),
    "ADDITEMS": lambda machine, _: machine.add_items(machine.above_mark()),
    "GLOBAL": _Machine.global_name,
    "STACK_GLOBAL": _Machine.global_name,
    "REDUCE": lambda machine, _: machine.call(),
    "NEWOBJ": lambda machine, _: _new_instance(machine, 2),
    "NEWOBJ_EX": lambda machine, _: _new_instance(machine, 3),
    "OBJ": _old_style_instance,
    "INST": _old_style_instance,
    "BUILD": lambda machine, _: machine.set_state(),
}
