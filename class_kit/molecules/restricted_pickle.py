"""Reading the data of a published pickle without running it; the only place in the kit where a pickle is read.

A pickle is a program that calls whatever it names. The names below get functions of this module, which build numbers,
strings, plain containers and arrays; gensim's classes get `Record`, which holds attributes and does nothing; any other
name is refused. Nothing that a file names is imported.

The machine is the standard library's own written in Python, because that in C reserves memory for any index that a
file mentions. A file made to fill the memory by copying or to hash forever can still do so: read none that you would
not open at all.
"""

from __future__ import annotations

import io
import os
import pickle
import tokenize
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.errors import InputError

MAX_BYTES = 2**30
# NumPy reads the header of an `.npy` file as a Python literal, after a second try as one of Python 2
BAD_HEADER = (ValueError, SyntaxError, RecursionError, tokenize.TokenError)

# modules moved between Python 2 and 3 and between releases of NumPy
_MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
}
# gensim's classes, and the state of its random generator, which nothing here needs
_RECORDS = ("gensim.", "numpy.random.")
_NUMBERS = {"b1", "f2", "f4", "f8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}


class Record:
    """What an instance of a gensim class held: its attributes, without the class.

    Attributes
    ----------
    name : str
        Module and name of the class.
    fields : dict
        Its attributes.
    """

    name = ""
    fields: dict[str, Any]

    def __new__(cls, *_: Any, **__: Any) -> Record:
        record = super().__new__(cls)
        record.fields = {}
        return record

    def __setstate__(self, state: Any) -> None:
        # classes with slots write a pair: the attributes of the dictionary, then those of the slots
        for part in state if type(state) is tuple else (state,):
            if type(part) is dict:
                self.fields.update((key, value) for key, value in part.items() if isinstance(key, str))

    def get(self, *names: str) -> Any:
        """The first of these attributes that is there and not None, else None."""
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)


class Name:
    """A function or type that the file mentions. Called, it builds what its namesake would, where data needs that."""

    def __init__(self, full: str) -> None:
        self.full = full

    def __call__(self, *arguments: Any) -> Any:
        build = _BUILDERS[self.full]
        if build is None:
            raise InputError(f"calls {self.full}, which data does not need")
        return build(*arguments)

    def __setstate__(self, state: Any) -> None:
        raise InputError(f"sets the state of {self.full}")


class Dtype:
    """The type of an array's elements: NumPy's code for a number, such as `f4`, or `O`, and the order of its bytes."""

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code.lstrip("<>|="), "="
        if self.code not in {*_NUMBERS, "O", "O4", "O8"}:
            raise InputError(f"holds an array of type {code[:20]!r}: expected numbers")

    def __setstate__(self, state: Any) -> None:
        _, self.order, *fields = state[:5]
        if self.order not in ("<", ">", "|", "=") or fields != [None] * 3:
            raise InputError("holds an array of records, or in an unknown byte order: expected numbers")

    def array(self, content: Any) -> np.ndarray:
        """An array `(n,)` of bytes that are numbers, or of the objects in a list."""
        if self.code.startswith("O") != isinstance(content, list):
            raise InputError("fills an array with something that is not its content")
        if isinstance(content, list):
            return np.fromiter(content, object, len(content))
        # Python 2 wrote the bytes of an array as a string, one character a byte
        raw = content.encode("latin-1") if isinstance(content, str) else content
        return np.frombuffer(raw, self.order + self.code).astype(self.code)


class Array(np.ndarray):
    """An array that a file may fill only with numbers that fit, or with the objects that it holds itself."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        if not isinstance(dtype, Dtype):
            raise InputError("fills an array with something that is not its content")
        whole = dtype.array(content).reshape(shape, order="F" if fortran else "C")
        super().__setstate__(whole.__reduce__()[2])  # type: ignore[arg-type]


def _record(kind: Any, *_: Any) -> Record:
    if not (isinstance(kind, type) and issubclass(kind, Record)):
        raise InputError("makes an instance of what is no class of gensim")
    return kind()


def _encoded(text: str, codec: str) -> bytes:
    if codec not in ("latin1", "latin-1"):
        raise InputError(f"encodes text as {codec[:20]!r}: expected latin1")
    return text.encode("latin-1")


def _bytes(content: bytes = b"") -> bytes:
    # a memory view of it, because a number would be taken for a length
    return bytes(memoryview(content))


_BUILDERS: dict[str, Callable[..., Any] | None] = {
    "numpy.core.multiarray._reconstruct": lambda *_: np.ndarray.__new__(Array, (0,), np.uint8),
    "numpy.core.multiarray.scalar": lambda dtype, content: dtype.array(content)[0].item(),
    "numpy.core.numeric._frombuffer": lambda content, dtype, shape, order: dtype.array(content).reshape(
        shape, order=order
    ),
    "numpy.dtype": Dtype,
    "_codecs.encode": _encoded,
    "copyreg._reconstructor": _record,
    "collections.OrderedDict": dict,
    "collections.defaultdict": lambda *_: {},
    "builtins.dict": dict,
    "builtins.list": list,
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.tuple": tuple,
    "builtins.bytes": _bytes,
    "builtins.bytearray": _bytes,
    # mentioned by gensim's files as values (a type, a hash function), never called
    **dict.fromkeys(f"numpy.{name}" for name in ("ndarray", "float32", "float64", "int32", "int64", "uint32")),
    **dict.fromkeys(f"builtins.{name}" for name in ("object", "int", "long", "float", "str", "unicode", "hash")),
}


class _Reader(pickle._Unpickler):
    """The standard machine, to which names are what stands in their place here."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{_MODULES.get(module, module)}.{name}"
        # a dotted name would walk through attributes of a module
        if "." not in name and full.startswith(_RECORDS):
            return type("Record", (Record,), {"name": full})
        if "." not in name and full in _BUILDERS:
            return Name(full)
        asked = f"{module}.{name}"[:100]
        raise InputError(f"asks for {asked!r}: expected arrays, strings, plain containers and gensim's records")


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """The data of a pickle file, or of an `.npy` file that holds a pickled object.

    Returns
    -------
    Any
        Numbers, strings, bytes, lists, tuples, dicts, sets, arrays, and `Record`s for gensim's classes. Strings of
        Python 2 are read as Latin-1.

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
        stream = io.BytesIO(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    try:
        if stream.getvalue().startswith(b"\x93NUMPY"):
            _skip_npy_header(stream)
        with warnings.catch_warnings():
            # what Python has to say about the spelling of old strings is of no use to a reader of vectors
            warnings.simplefilter("ignore")
            value = _Reader(stream, encoding="latin-1").load()
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except Exception as error:  # a damaged file can end in almost any error
        raise InputError(f"{file} is damaged or not a pickle of word vectors: {str(error)[:200]}") from error
    return value.item() if isinstance(value, Array) and value.shape == () and value.dtype == object else value


def _skip_npy_header(stream: io.BytesIO) -> None:
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    _, _, dtype = read[np.lib.format.read_magic(stream)](stream)
    if not dtype.hasobject:
        raise InputError(f"holds an array of {dtype}: expected a pickled dictionary of word vectors")
