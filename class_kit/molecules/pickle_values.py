"""What a published pickle may consist of: which names it may mention and which values are built from them.

The machine of `class_kit.molecules.restricted_pickle` asks here for every value that is more than a number or a
string. Nothing is imported or looked up: a name is text, and each constructor is written out below.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from class_kit.errors import InputError

MAX_BYTES = 2**30

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
    "builtins.bytes",
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
class Dtype:
    """The type of an array's elements: NumPy's code for a number, such as `f4`, or `O`, and the order of its bytes."""

    code: str
    order: str = "="

    def numpy(self) -> np.dtype[Any]:
        """The same as NumPy's own."""
        return np.dtype(f"{self.order if self.order in '<>' else '='}{self.code}")


@dataclass(eq=False)
class ArrayCell:
    """An array between the opcode that announces it and the one that fills it, with its places in the memo."""

    places: list[int] = field(default_factory=list)


def allowed_name(module: str, name: str) -> Name:
    """The name as text, if data may mention it; otherwise an InputError that shows it."""
    full = f"{_MODULES.get(module, module)}.{name}"
    found = Name(full)
    # a dotted name would walk through attributes of a module
    if "." in name or not (found.inert or full in _BUILDERS or full in _NAMES_ONLY):
        asked = f"{module}.{name}"[:100]
        raise InputError(f"asks for {asked!r}: expected arrays, strings, plain containers and gensim's records")
    return found


def plain_keys(items: list[Any]) -> list[Any]:
    """The items, if each is a string or a number: nested tuples can take longer than a lifetime to hash."""
    for item in items:
        if not isinstance(item, _PLAIN):
            raise InputError(f"uses a {type(item).__name__} as a key: expected a string or a number")
    return items


def plain_pairs(items: list[Any]) -> list[tuple[Any, Any]]:
    """Keys and values that follow each other, as pairs."""
    return list(zip(plain_keys(items[::2]), items[1::2], strict=True))


def build(function: Name, arguments: tuple[Any, ...]) -> Any:
    """Carry out one of the few constructors that data needs; the file's own name is never looked up."""
    if function.inert:
        return Record(function.full)
    match function.full, arguments:
        case "numpy.core.multiarray._reconstruct", (Name("numpy.ndarray"), *_):
            return ArrayCell()
        case "numpy.dtype", (str(code), *_):
            return Dtype(_checked_code(code))
        case "numpy.core.multiarray.scalar", (Dtype() as dtype, str() | bytes() as raw):
            return _numeric(dtype, (1,), False, raw)[0].item()
        case "numpy.core.numeric._frombuffer", (bytes() | bytearray() as raw, Dtype() as dtype, tuple(shape), order):
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
            return dict(plain_pairs([value for row in rows for value in _exactly_two(row)]))
        case (("builtins.set" | "builtins.frozenset"), (list(items),)):
            return set(plain_keys(items))
        case "builtins.list", ():
            return []
        case "builtins.tuple", (list(items),):
            return tuple(items)
        case (("builtins.bytes" | "builtins.bytearray"), ()):
            return b""
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
        raise InputError(f"holds an array of type {code[:20]!r}: expected numbers")
    return plain


def fill_record(target: Record, state: Any) -> None:
    """Give a record its attributes; a state of another kind is of no use to a reader of vectors and is left out."""
    # classes with slots write a pair: the attributes of the dictionary, then those of the slots
    parts = state if type(state) is tuple and len(state) == 2 and all(_is_state(part) for part in state) else (state,)
    for part in parts:
        if type(part) is dict:
            target.fields.update({key: value for key, value in part.items() if isinstance(key, str)})


def _is_state(part: Any) -> bool:
    return part is None or type(part) is dict


def fill_dtype(target: Dtype, state: Any) -> None:
    """Give a type the order of its bytes; fields and subarrays are refused."""
    if type(state) is not tuple or len(state) < 5 or any(value is not None for value in state[2:5]):
        raise InputError("holds an array of records: expected numbers")
    if state[1] not in ("<", ">", "|", "="):
        raise InputError("holds an array in an unknown byte order")
    target.order = state[1]


def filled_array(state: Any) -> Any:
    """The array of this state: numeric, or for object arrays the list of elements (the element, if it is the one)."""
    match state:
        case (_, tuple(shape), Dtype(code="O"), _, list(items)):
            if _count(shape) != len(items):
                raise InputError(f"holds an object array of shape {shape} with {len(items)} elements")
            return items[0] if shape == () else items
        case (_, tuple(shape), Dtype() as dtype, fortran, (str() | bytes()) as raw):
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


def _numeric(dtype: Dtype, shape: tuple[Any, ...], fortran: bool, raw: str | bytes) -> np.ndarray:
    # Python 2 wrote the bytes of an array as a string, one character a byte
    content = raw.encode("latin-1") if isinstance(raw, str) else raw
    if dtype.code == "O":
        raise InputError("holds references where the bytes of an array belong")
    if _count(shape) * dtype.numpy().itemsize != len(content):
        raise InputError(f"holds an array of shape {shape} in {len(content)} bytes, which does not fit")
    return np.frombuffer(content, dtype=dtype.numpy()).reshape(shape, order="F" if fortran else "C")
