"""Read the data of a published pickle without running it; the only place in the kit where a pickle is read.

A pickle is a program that calls whatever it names. Here the names below stand for functions of this module, which build
numbers, strings, plain containers and arrays. gensim's classes, and types that its files mention, become `Record`,
which holds attributes and does nothing. Any other name is refused. Nothing that a file names is imported.

The unpickler is the standard library's in Python, because the one in C allocates memory for any memo index in a file.
A crafted file can still exhaust memory by copying, or hash forever: do not open files from sources you distrust.
"""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from class_kit.errors import InputError

MAX_BYTES = 2**30

# modules renamed between Python 2 and 3 and between releases of NumPy
_MODULES = {
    "__builtin__": "builtins",
    "copy_reg": "copyreg",
    "numpy._core.multiarray": "numpy.core.multiarray",
    "numpy._core.numeric": "numpy.core.numeric",
}
# gensim's classes, and the state of its random generator, which is not needed
_RECORDS = ("gensim.", "numpy.random.")
# types and functions that gensim's files hold as values
_MENTIONED = {
    *(f"numpy.{name}" for name in ("ndarray", "float32", "float64", "int32", "int64", "uint32")),
    *(f"builtins.{name}" for name in ("object", "int", "long", "float", "str", "unicode", "list", "hash")),
}
_CODES = {"b1", "f2", "f4", "f8", "O", "O4", "O8", *(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))}


class Record:
    """The attributes of an instance of a gensim class, without the class.

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
            self.fields.update(part or {})

    def get(self, *names: str) -> Any:
        """The first of these attributes that exists and is not None, else None."""
        return next((self.fields[name] for name in names if self.fields.get(name) is not None), None)


class Dtype:
    """The type of an array's elements: NumPy's code for a number, such as `f4`, or `O`, and its byte order.

    NumPy's own class would accept fields and flags from the file, with which it could read numbers as addresses.
    """

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code.lstrip("<>|="), "="
        if self.code not in _CODES:
            raise InputError(f"holds an array of type {code[:20]!r}: expected numbers")

    def __setstate__(self, state: Any) -> None:
        self.order = state[1]
        if self.order not in ("<", ">", "|", "="):
            raise InputError("holds an array in an unknown byte order")

    def array(self, content: Any) -> np.ndarray:
        """An array `(n,)` from the bytes of numbers, or of the objects in a list."""
        if isinstance(content, list):
            return np.fromiter(content, object, len(content))
        # Python 2 wrote the bytes of an array as a string, one character per byte
        raw = content.encode("latin-1") if isinstance(content, str) else content
        return np.frombuffer(raw, self.order + self.code).astype(self.code)


class Array(np.ndarray):
    """An array that a file can fill only with numbers of the declared shape and type, or with its own objects."""

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, content = state
        whole = dtype.array(content).reshape(shape, order="F" if fortran else "C")
        super().__setstate__(whole.__reduce__()[2])  # type: ignore[arg-type]


_BUILDERS: dict[str, Callable[..., Any]] = {
    "numpy.core.multiarray._reconstruct": lambda *_: np.ndarray.__new__(Array, (0,), np.uint8),
    "numpy.core.multiarray.scalar": lambda dtype, content: dtype.array(content)[0].item(),
    "numpy.core.numeric._frombuffer": lambda content, dtype, shape, order: dtype.array(content).reshape(
        shape, order=order
    ),
    "numpy.dtype": Dtype,
    # protocols without bytes write them as Latin-1 text
    "_codecs.encode": lambda text, _: text.encode("latin-1"),
    "builtins.bytes": lambda: b"",
    "copyreg._reconstructor": lambda kind, *_: kind(),
    "collections.OrderedDict": dict,
    "collections.defaultdict": lambda *_: {},
    "builtins.set": set,
    "builtins.frozenset": frozenset,
}


class _Reader(pickle._Unpickler):
    """The standard unpickler with an allow-list of names."""

    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        full = f"{_MODULES.get(module, module)}.{name}"
        if full.startswith(_RECORDS) or full in _MENTIONED:
            return type("Record", (Record,), {"name": full})
        if full in _BUILDERS:
            return _BUILDERS[full]
        asked = f"{module}.{name}"[:100]
        raise InputError(f"names {asked!r}: expected arrays, strings, plain containers and gensim's records")

    def load_build(self) -> None:
        # the standard unpickler would set attributes of any object, such as the functions above
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Record | Dtype | Array):
            raise InputError(f"sets the state of {str(target)[:50]!r}: expected an array or one of gensim's records")
        target.__setstate__(state)

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


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
        The file is missing, larger than 1 GiB, damaged, or names anything but data; the message says what.
    """
    file = Path(path)
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{file} has {size:,} bytes: expected a file of word vectors of at most {MAX_BYTES:,}")
        stream = io.BytesIO(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror or error}") from error
    try:
        if stream.getvalue().startswith(b"\x93NUMPY"):
            np.lib.format.read_magic(stream)
            _, _, dtype = np.lib.format.read_array_header_1_0(stream)
            if not dtype.hasobject:
                raise InputError(f"holds an array of {dtype}: expected a pickled dictionary of word vectors")
        value = _Reader(stream, encoding="latin-1").load()
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except Exception as error:  # a damaged file can end in almost any error
        raise InputError(f"{file} is damaged or not a pickle of word vectors: {str(error)[:200]}") from error
    return value.item() if isinstance(value, Array) and value.shape == () and value.dtype == object else value
