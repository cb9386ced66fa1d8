"""Read a dictionary of word vectors from a published pickle without running it; no other pickle is ever read.

A pickle is a program that calls whatever it names. Here the names below stand for functions of this module, which build
arrays of floating-point numbers, and any other name is refused. Nothing that a file names is imported.

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
_CODES = ("f2", "f4", "f8", "O", "O4", "O8")


class Dtype:
    """The type of an array's elements: NumPy's code for a floating-point number, or `O`, and its byte order.

    NumPy's own class would accept fields and flags from the file, with which it could read numbers as addresses.
    """

    def __init__(self, code: str, *_: Any) -> None:
        self.code, self.order = code.lstrip("<>|="), "="
        if self.code not in _CODES:
            raise InputError(f"holds an array of type {code[:20]!r}: expected floating-point numbers")

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


def _reconstruct(*_: Any) -> np.ndarray:
    return np.ndarray.__new__(Array, (0,), np.uint8)


def _from_buffer(content: Any, dtype: Dtype, shape: Any, order: Any) -> np.ndarray:
    return dtype.array(content).reshape(shape, order=order)


_BUILDERS: dict[str, Callable[..., Any] | None] = {
    # NumPy 2 renamed its modules
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.core.numeric._frombuffer": _from_buffer,
    "numpy._core.numeric._frombuffer": _from_buffer,
    "numpy.dtype": Dtype,
    # only an argument of the functions above
    "numpy.ndarray": None,
    # protocols without bytes write them as Latin-1 text
    "_codecs.encode": lambda text, _: text.encode("latin-1"),
}


class _Reader(pickle._Unpickler):
    """The standard unpickler with an allow-list of names."""

    stack: list[Any]

    def find_class(self, module: str, name: str) -> Any:
        if (full := f"{module}.{name}") not in _BUILDERS:
            advice = " (a gensim model: see load_vectors)" if full.startswith("gensim.") else ""
            raise InputError(f"names {full[:100]!r}{advice}: expected a dictionary from words to arrays")
        return _BUILDERS[full]

    def load_build(self) -> None:
        # the standard unpickler would set attributes of any object, such as the functions above
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, Dtype | Array):
            raise InputError(f"sets the state of {str(target)[:50]!r}: expected an array")
        target.__setstate__(state)

    dispatch: ClassVar[dict[int, Any]] = {**pickle._Unpickler.dispatch, pickle.BUILD[0]: load_build}


def read_pickle(path: str | os.PathLike[str]) -> Any:
    """The data of a pickle file, or of an `.npy` file that holds a pickled object.

    Returns
    -------
    Any
        Numbers, strings, bytes, lists, tuples, dicts, sets and arrays. Strings of Python 2 are read as Latin-1.

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
