"""Reading the data of a published pickle without running it; the only place in the kit where a pickle is read.

A pickle is a program. `pickle.load` runs it and trusts a list of exceptions to keep it harmless. Here the opcodes are
taken one by one from `pickletools` and carried out by the small machine below, which imports nothing, calls nothing
that the file names, and knows only how to build numbers, strings, plain containers and numeric arrays. The classes of
gensim become `Record`s, which hold attributes and do nothing. Whatever else a file asks for is refused by name.

What a file can cost is bounded as well: all sizes are checked against the bytes that are there, the memo is a
dictionary, so that a large index reserves no memory, and keys of dictionaries and sets are plain values, so that
hashing them takes no time to speak of.
"""

from __future__ import annotations

import io
import os
import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.errors import InputError

MAX_BYTES = 2**30

_MARK = object()
_PLAIN = (str, bytes, int, float, bool, type(None))
_CODEC_NAMES = {"latin1", "latin-1"}

# modules moved between Python 2 and 3 and between releases of NumPy
_MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
}
_BUILDERS = {
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.core.numeric._frombuffer",
    "numpy.dtype",
    "_codecs.encode",
    "copyreg._reconstructor",
    "collections.OrderedDict",
    "collections.defaultdict",
    "builtins.list",
    "builtins.dict",
    "builtins.set",
    "builtins.frozenset",
    "builtins.tuple",
    "builtins.bytearray",
}
# mentioned by gensim's files as values (a type, a hash function), never carried out
_NAMES_ONLY = {
    "numpy.ndarray",
    "numpy.float32",
    "numpy.float64",
    "numpy.int32",
    "numpy.int64",
    "numpy.uint32",
    "builtins.object",
    "builtins.int",
    "builtins.long",
    "builtins.float",
    "builtins.str",
    "builtins.unicode",
    "builtins.bytes",
    "builtins.hash",
}
# the state of gensim's random generator, which nothing here needs
_INERT = {
    "numpy.random.RandomState",
    "numpy.random.mtrand.RandomState",
    "numpy.random.__RandomState_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._mt19937.MT19937",
    "numpy.random._pcg64.PCG64",
}


@dataclass(frozen=True)
class Name:
    """A class or function that the file mentions, as text alone: `module.name`."""

    full: str

    @property
    def inert(self) -> bool:
        """Whether its instances may become records."""
        return self.full.startswith("gensim.") or self.full in _INERT


@dataclass(eq=False)
class Record:
    """What an instance of a gensim class held: its attributes, without the class."""

    name: str
    fields: dict[str, Any] = field(default_factory=dict)

    def get(self, *names: str) -> Any:
        """The first of these attributes that is there and not None, else None."""
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)


@dataclass(eq=False)
class _Dtype:
    code: str
    order: str = "="

    def numpy(self) -> np.dtype[Any]:
        return np.dtype(f"{self.order if self.order in '<>' else '='}{self.code}")


@dataclass(eq=False)
class _Array:
    """An array between the opcode that announces it and the one that fills it, with its places in the memo."""

    places: list[int] = field(default_factory=list)


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
        return _Machine().run(stream)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError) as error:
        raise InputError(f"{file} is damaged or not a pickle of word vectors: {error}") from error


def _skip_npy_header(stream: io.BytesIO) -> None:
    major, _ = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if major == 1 else np.lib.format.read_array_header_2_0
    _, _, dtype = read(stream)
    if not dtype.hasobject:
        raise InputError(f"holds an array of {dtype}: expected a pickled dictionary of word vectors")


class _Machine:
    """Carries out the opcodes of one pickle on a stack, as the format describes them."""

    def __init__(self) -> None:
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
        if len(self.stack) != 1:
            raise InputError(f"leaves {len(self.stack)} values where a pickle leaves one")
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

    def put(self, argument: Any) -> None:
        (value,) = self.last(1)
        self.stack.append(value)
        place = len(self.memo) if argument is None else argument
        self.memo[place] = value
        if isinstance(value, _Array):
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
        self.stack.append(_allowed(module, name))

    def append_to(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not list:
            raise InputError(f"appends to a {type(target).__name__}")
        target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise InputError(f"sets items of a {type(target).__name__}")
        target.update(_pairs(items))

    def add_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise InputError(f"adds members to a {type(target).__name__}")
        target.update(_keys(items))

    def call(self) -> None:
        function, arguments = self.last(2)
        if not isinstance(function, Name) or type(arguments) is not tuple:
            raise InputError("calls something that is not a named class")
        self.stack.append(_build(function, arguments))

    def new_record(self, name: Any) -> None:
        if not (isinstance(name, Name) and name.inert):
            raise InputError(f"makes an instance of {name.full if isinstance(name, Name) else type(name).__name__}")
        self.stack.append(Record(name.full))

    def set_state(self) -> None:
        target, state = self.last(2)
        self.stack.append(target)
        if isinstance(target, Record):
            _fill_record(target, state)
        elif isinstance(target, _Dtype):
            _fill_dtype(target, state)
        elif isinstance(target, _Array):
            self.stack[-1] = _filled_array(state)
            self.memo.update(dict.fromkeys(target.places, self.stack[-1]))
        else:
            raise InputError(f"sets the state of a {type(target).__name__}")


def _allowed(module: str, name: str) -> Name:
    full = f"{_MODULES.get(module, module)}.{name}"
    found = Name(full)
    # a dotted name would walk through attributes of a module
    if "." in name or not (found.inert or full in _BUILDERS or full in _NAMES_ONLY):
        raise InputError(f"asks for {module}.{name}: expected arrays, strings, plain containers and gensim's records")
    return found


def _keys(items: list[Any]) -> list[Any]:
    for item in items:
        if not isinstance(item, _PLAIN):
            raise InputError(f"uses a {type(item).__name__} as a key: expected a string or a number")
    return items


def _pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(_keys(items[::2]), items[1::2], strict=True))


def _build(function: Name, arguments: tuple[Any, ...]) -> Any:
    """Carry out one of the few constructors that data needs; the file's own name is never looked up."""
    if function.inert:
        return Record(function.full)
    match function.full, arguments:
        case "numpy.core.multiarray._reconstruct", (Name("numpy.ndarray"), *_):
            return _Array()
        case "numpy.dtype", (str(code), *_):
            return _Dtype(_checked_code(code))
        case "numpy.core.multiarray.scalar", (_Dtype() as dtype, str() | bytes() as raw):
            return _numeric(dtype, (1,), False, raw)[0].item()
        case "numpy.core.numeric._frombuffer", (bytes() | bytearray() as raw, _Dtype() as dtype, tuple(shape), order):
            return _numeric(dtype, shape, order == "F", bytes(raw))
        case "_codecs.encode", (str(text), str(codec)) if codec in _CODEC_NAMES:
            return text.encode("latin-1")
        case "copyreg._reconstructor", (Name() as name, Name("builtins.object"), None) if name.inert:
            return Record(name.full)
        case "collections.defaultdict", () | (None,) | (Name(),):
            return {}
        case (("collections.OrderedDict" | "builtins.dict"), ()):
            return {}
        case (("collections.OrderedDict"), (list(rows),)):
            return dict(_pairs([value for row in rows for value in _exactly_two(row)]))
        case (("builtins.set" | "builtins.frozenset"), (list(items),)):
            return set(_keys(items))
        case "builtins.list", ():
            return []
        case "builtins.tuple", (list(items),):
            return tuple(items)
        case "builtins.bytearray", (bytes(raw),):
            return raw
    raise InputError(f"calls {function.full} in a way that data does not need")


def _exactly_two(row: Any) -> list[Any]:
    if type(row) not in (list, tuple) or len(row) != 2:
        raise InputError("makes a dictionary from rows that are not pairs")
    return list(row)


def _checked_code(code: str) -> str:
    plain = code.lstrip("<>|=")
    if plain in {"O", "O4", "O8"}:
        return "O"
    if plain not in {"b1", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)), "f2", "f4", "f8"}:
        raise InputError(f"holds an array of type {code!r}: expected numbers")
    return plain


def _fill_record(target: Record, state: Any) -> None:
    # classes with slots write a pair: the attributes of the dictionary, then those of the slots
    parts = state if type(state) is tuple and len(state) == 2 and all(_is_state(part) for part in state) else (state,)
    for part in parts:
        if type(part) is dict:
            target.fields.update({key: value for key, value in part.items() if isinstance(key, str)})


def _is_state(part: Any) -> bool:
    return part is None or type(part) is dict


def _fill_dtype(target: _Dtype, state: Any) -> None:
    if type(state) is not tuple or len(state) < 5 or any(value is not None for value in state[2:5]):
        raise InputError("holds an array of records: expected numbers")
    if state[1] not in ("<", ">", "|", "="):
        raise InputError("holds an array in an unknown byte order")
    target.order = state[1]


def _filled_array(state: Any) -> Any:
    match state:
        case (_, tuple(shape), _Dtype(code="O"), _, list(items)):
            if _count(shape) != len(items):
                raise InputError(f"holds an object array of shape {shape} with {len(items)} elements")
            return items[0] if shape == () else items
        case (_, tuple(shape), _Dtype() as dtype, fortran, (str() | bytes()) as raw):
            return _numeric(dtype, shape, bool(fortran), raw)
    raise InputError("fills an array with something that is not its bytes")


def _count(shape: tuple[Any, ...]) -> int:
    # the shape itself is not shown: what a file nests in it could take forever to print
    if len(shape) > 8 or any(type(length) is not int or not 0 <= length <= MAX_BYTES for length in shape):
        raise InputError("holds an array whose shape is not a few whole numbers")
    total = 1
    for length in shape:
        total *= length
    return total


def _numeric(dtype: _Dtype, shape: tuple[Any, ...], fortran: bool, raw: str | bytes) -> np.ndarray:
    # Python 2 wrote the bytes of an array as a string, one character a byte
    content = raw.encode("latin-1") if isinstance(raw, str) else raw
    if dtype.code == "O":
        raise InputError("holds references where the bytes of an array belong")
    if _count(shape) * dtype.numpy().itemsize != len(content):
        raise InputError(f"holds an array of shape {shape} in {len(content)} bytes, which does not fit")
    return np.frombuffer(content, dtype=dtype.numpy()).reshape(shape, order="F" if fortran else "C")


_PUSHED = {
    *("NONE", "NEWTRUE", "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"),
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
    "EMPTY_LIST": lambda machine, _: machine.stack.append([]),
    "EMPTY_DICT": lambda machine, _: machine.stack.append({}),
    "EMPTY_TUPLE": lambda machine, _: machine.stack.append(()),
    "EMPTY_SET": lambda machine, _: machine.stack.append(set()),
    "LIST": lambda machine, _: machine.stack.append(machine.above_mark()),
    "TUPLE": lambda machine, _: machine.stack.append(tuple(machine.above_mark())),
    "TUPLE1": lambda machine, _: machine.stack.append(tuple(machine.last(1))),
    "TUPLE2": lambda machine, _: machine.stack.append(tuple(machine.last(2))),
    "TUPLE3": lambda machine, _: machine.stack.append(tuple(machine.last(3))),
    "DICT": lambda machine, _: machine.stack.append(dict(_pairs(machine.above_mark()))),
    "FROZENSET": lambda machine, _: machine.stack.append(set(_keys(machine.above_mark()))),
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
