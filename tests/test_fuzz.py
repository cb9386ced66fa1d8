"""Made-up and damaged files: each gives its content or an InputError, and nothing in it runs.

`CLASS_KIT_FUZZ=N` tries N examples of each kind instead of a few hundred.
"""

import bz2
import codecs
import collections
import contextlib
import functools
import gzip
import io
import lzma
import os
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.molecules.restricted_pickle import _BUILDERS, Dtype, Record, read_pickle
from class_kit.molecules.vectors import load_vectors
from class_kit.pairs.readers import read_source, read_table
from tests.pair_files import TABLE, parquet

WANTED = int(os.environ.get("CLASS_KIT_FUZZ", "0"))


def examples(usual: int) -> settings:
    """So many examples, or as many as are asked for; what failed once is not kept, since nothing here may fail."""
    return settings(
        max_examples=WANTED or usual,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to read from."""
    return tmp_path_factory.mktemp("fuzz")


PIECES = [
    *("text", "smiles", "id", "split", "description", "SMILES", "CID", "train", "val", "C", "CCO", "c1ccccc1", "[*]C"),
    *(",", "\t", ";", '"', '""', "'", "\n", "\r\n", "\r", "\0", "\x1b[2J", "\ufeff", "\u202e", "\u2028", "\x85"),
    *("=1+1", "-1", "nan", "1e999", "9" * 50, "é", "🧪", " ", "\\", "|", "C(", "C" * 50, "text,smiles\n", "a,CC\n"),
]
texts = st.lists(st.sampled_from(PIECES) | st.text(max_size=4), max_size=40).map("".join)
bytes_of_text = st.one_of(
    texts.map(lambda text: text.encode("utf-8", "surrogatepass")),
    texts.map(lambda text: b"text,smiles,id\na,CC,1\n" + text.encode("utf-8", "surrogatepass")),
    texts.map(lambda text: text.encode("utf-16", "surrogatepass")),
    st.binary(max_size=200),
)


def changed(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes with some replaced, some cut out, some put in twice."""
    place = st.integers(0, len(content))
    change = st.tuples(place, st.integers(0, 12), st.binary(max_size=6))

    def apply(changes: list[tuple[int, int, bytes]]) -> bytes:
        result = content
        for start, length, new in changes:
            result = result[:start] + new + result[start + length :]
        return result

    return st.lists(change, max_size=5).map(apply)


def check_table(path: Path) -> None:
    said = ""
    try:
        table = read_table(path)
    except InputError as error:
        said = str(error)
    if said:
        assert path.name in said
        assert len(said) < 2_000
        return
    assert all(len(column) == len(table.places) for column in table.columns.values())
    assert [place.row for place in table.places] == list(range(1, len(table.places) + 1))


@examples(100)
@given(
    content=bytes_of_text, name=st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.csv.gz", "a.jsonl", "a.smi", "a.sdf"])
)
def test_texts(content: bytes, name: str, place: Path) -> None:
    path = place / name
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    check_table(path)


MOLFILE = b"""ethanol
     RDKit          2D

  3  2  0  0  0  0  0  0  0  0999 V2000
    0.0000    0.0000    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
    1.2990    0.7500    0.0000 C   0  0  0  0  0  0  0  0  0  0  0  0
    2.5981   -0.0000    0.0000 O   0  0  0  0  0  0  0  0  0  0  0  0
  1  2  1  0
  2  3  1  0
M  END
>  <text>
an alcohol

$$$$
"""
JSON = b'[{"text": "a", "smiles": "C", "n": 1.5, "x": [1, {"y": null}]}, ["CC", "b"], 3]'


@functools.cache
def parquets() -> list[bytes]:
    """Parquet of several codecs and kinds of column."""
    import pyarrow

    columns = {
        "text": ["a", None, "b"],
        "smiles": pyarrow.array(["C", "CC", "C"]).dictionary_encode(),
        "id": [1, 2, 3],
        "when": pyarrow.array([0, 1, 2], pyarrow.timestamp("us", tz="UTC")),
        "parts": [["x"], [], None],
    }
    kinds = ({"compression": "zstd"}, {"compression": "gzip", "use_dictionary": False}, {"version": "1.0"})
    return [parquet(), *(parquet(columns, data_page_version="2.0", **kind) for kind in kinds)]


@functools.cache
def whole_files() -> list[tuple[str, bytes]]:
    """A name and the bytes of a small file of every kind that is more than lines of cells."""
    import pyarrow.feather

    buffer = io.BytesIO()
    pyarrow.feather.write_feather(pyarrow.table({"text": ["a", None], "smiles": ["C", "CC"]}), buffer)
    return [
        ("a.csv.gz", gzip.compress(TABLE, mtime=0)),
        ("a.csv.bz2", bz2.compress(TABLE)),
        ("a.csv.xz", lzma.compress(TABLE)),
        ("a.csv.zst", pyarrow.compress(TABLE, codec="zstd", asbytes=True)),
        ("a.sdf", MOLFILE * 2),
        ("a.json", JSON),
        ("a.jsonl", JSON[1:]),
        ("a.feather", buffer.getvalue()),
        *(("a.parquet", content) for content in parquets()),
    ]


@examples(300)
@given(data=st.data())
def test_damaged_files(data: st.DataObject, place: Path) -> None:
    name, whole = data.draw(st.sampled_from(whole_files()), label="which")
    (place / name).write_bytes(data.draw(changed(whole), label="bytes"))
    check_table(place / name)


VALUES = st.none() | st.booleans() | st.integers() | st.floats() | texts | st.binary(max_size=3)


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Lists, mappings and pairs of values."""
    records = st.dictionaries(texts | st.integers(), inner, max_size=4)
    return st.lists(inner, max_size=4) | records | st.tuples(inner, inner)


@examples(100)
@given(source=st.recursive(VALUES, nested, max_leaves=12))
def test_objects_in_memory(source: Any) -> None:
    with contextlib.suppress(InputError):
        table = read_source(source if not isinstance(source, str) else [source])
        assert all(len(column) == len(table.places) for column in table.columns.values())
        assert all(cell is None or isinstance(cell, str) for column in table.columns.values() for cell in column)


DATA = (dict, list, tuple, set, frozenset, str, bytes, bytearray, int, float, type(None), np.ndarray, Record, Dtype)
WATCHED = ("import", "exec", "subprocess.", "os.", "pickle.", "socket.", "shutil.", "ctypes.", "marshal.")
_watching: list[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching is None:
        return
    if event.startswith(WATCHED) or (event == "open" and arguments[1] not in ("r", "rb")):
        _watching.append(f"{event} {arguments!r:.200}")


# strings of old protocols are decoded by codecs that Python imports when they are first used
for _codec in ("ascii", "latin-1", "utf-8", "unicode_escape", "raw_unicode_escape"):
    codecs.lookup(_codec)
# a hook cannot be taken away again, so it is put in once and idles
sys.addaudithook(_watch)


@contextlib.contextmanager
def watched() -> Iterator[list[str]]:
    """Note what is imported, run, started or opened for writing inside the block."""
    global _watching
    seen: list[str] = []
    _watching = seen
    try:
        yield seen
    finally:
        _watching = None


def pickles() -> list[bytes]:
    """Pickles of every layout that the reader knows, in every protocol, and arrays with objects in them."""
    words = {"UNK": np.ones(3, np.float32), "864662311": np.arange(3, dtype=">f8")}
    held: list[Any] = [
        words,
        [1, -(2**40), 2**70, 0.5, True, None, "a", "é", b"b", (1, 2), ((),), {1, 2}, frozenset("ab")],
        collections.OrderedDict([("b", [1]), ("a", {"c": (2,)})]),
        collections.defaultdict(int, a=1),
        [np.float32(0.5), np.int64(7), np.asfortranarray(np.ones((2, 3))), np.array([1, "a", None], dtype=object)],
    ]
    found = [pickle.dumps(value, protocol) for value in held for protocol in range(6)]
    record = b"\x80\x02cgensim.models.keyedvectors\nKeyedVectors\n)\x81}(X\x07\x00\x00\x00vectors"
    found.append(record + pickle.dumps(np.ones((1, 2)), 2)[2:-1] + b"ub.")
    for value in (np.array(words, dtype=object), np.array(["a", None], dtype=object)):
        buffer = io.BytesIO()
        np.save(buffer, value, allow_pickle=True)
        found.append(buffer.getvalue())
    return found


def check_pickle(content: bytes, path: Path) -> bool:
    """Read `content` as a file; True where it held data, False where it was refused; anything else is a failure."""
    path.write_bytes(content)
    said = ""
    value = None
    with watched() as seen:
        try:
            value = read_pickle(path)
        except InputError as error:
            said = str(error)
    assert not seen, seen
    inert = value in _BUILDERS.values() if callable(value) else isinstance(value, DATA)
    assert inert or issubclass(value, Record), type(value)
    assert not said or (str(path) in said and len(said) < 1_000), said
    return not said


SEEDS = pickles()


@examples(200)
@given(data=st.data())
def test_changed_pickles(data: st.DataObject, place: Path) -> None:
    content = data.draw(st.sampled_from(SEEDS).flatmap(changed))
    kept = check_pickle(content, place / "one.pkl")
    if kept:
        with contextlib.suppress(InputError):
            load_vectors(place / "one.pkl")


def test_the_seeds_are_data(place: Path) -> None:
    assert all(check_pickle(content, place / "one.pkl") for content in SEEDS)
