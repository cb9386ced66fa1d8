"""The pickle reader reads what data needs, as `pickle` would, and refuses by name whatever could do something."""

import collections
import io
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.molecules.restricted_pickle import Record, read_pickle
from tests.test_hostile_data import Runs


def read(content: bytes, folder: Path) -> Any:
    path = folder / "file.pkl"
    path.write_bytes(content)
    return read_pickle(path)


def refused(content: bytes, folder: Path) -> str:
    with pytest.raises(InputError) as caught:
        read(content, folder)
    assert str(folder / "file.pkl") in str(caught.value)
    assert len(str(caught.value)) < 500
    return str(caught.value)


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
        | st.sets(st.text() | st.integers(), max_size=4)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=plain, protocol=st.integers(0, 5))
def test_plain_data_reads_as_pickle_reads_it(value: Any, protocol: int, tmp_path: Path) -> None:
    assert read(pickle.dumps(value, protocol), tmp_path) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "f8", "f2", "i8", "<u2", ">i4", "?"])
def test_numeric_arrays_read_as_pickle_reads_them(dtype: str, protocol: int, tmp_path: Path) -> None:
    array = (np.arange(24).reshape(2, 3, 4) % 7).astype(dtype)
    held = {"c": array, "f": np.asfortranarray(array), "same": array, "none": array[:0]}
    found = read(pickle.dumps(held, protocol), tmp_path)
    for name, expected in held.items():
        assert found[name].dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found[name], expected)
    assert found["same"] is found["c"]


def test_other_containers_numpy_scalars_and_object_arrays(tmp_path: Path) -> None:
    counts: Any = collections.defaultdict(int, a=1)
    ordered = collections.OrderedDict([("b", 2), ("a", 1)])
    held = [counts, ordered, frozenset({1, 2}), np.float32(0.5), np.int64(7), np.bool_(True)]
    for protocol in range(2, 6):
        assert read(pickle.dumps(held, protocol), tmp_path) == [{"a": 1}, {"b": 2, "a": 1}, {1, 2}, 0.5, 7, True]
    np.save(tmp_path / "objects.npy", np.array(["a", 1, None], dtype=object), allow_pickle=True)
    assert read_pickle(tmp_path / "objects.npy").tolist() == ["a", 1, None]


@pytest.mark.parametrize("how", ["system", "eval", "method"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
@pytest.mark.filterwarnings("ignore:unclosed file")  # the control below runs the payload, which opens a file
def test_what_would_run_is_refused_and_does_not_run(how: str, protocol: int, tmp_path: Path) -> None:
    marker = tmp_path / "it-ran"
    payload = Runs(marker, how)
    expected = {"system": "system", "eval": "eval", "method": "getattr" if protocol < 4 else "Path"}[how]
    content = pickle.dumps([{"UNK": payload}, np.array([payload, 1], dtype=object)], protocol)
    assert expected in refused(content, tmp_path)
    assert not marker.exists()
    pickle.loads(content)
    assert marker.exists(), "the payload would not have run at all, so that refusing it shows nothing"


@pytest.mark.parametrize(
    "name",
    ["os system", "builtins exec", "pickle loads", "numpy load", "gensimx.models KeyedVectors", "collections Counter"],
)
def test_names_outside_the_list_are_refused_however_they_are_asked_for(name: str, tmp_path: Path) -> None:
    module, attribute = name.split(" ")
    called = f"c{module}\n{attribute}\n".encode()
    forms = [
        b"\x80\x02" + called + b"X\x01\x00\x00\x00a\x85R.",
        b"\x80\x02" + called + b")\x81.",
        b"\x80\x04" + text(module) + text(attribute) + b"\x93)R.",
        b"(" + b"X\x01\x00\x00\x00a" + f"i{module}\n{attribute}\n.".encode(),
        b"(" + called + b"o.",
        b"\x80\x04" + called + b")}\x92.",
    ]
    for form in forms:
        assert f"{module}.{attribute}" in refused(form, tmp_path)


def array_of(code: str, shape: bytes, raw: bytes, order: str = "<") -> bytes:
    start = b"\x80\x03cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R"
    ends = b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    kind = b"cnumpy\ndtype\n" + text(code) + b"K\x00K\x01\x87R(K\x03" + text(order) + ends
    return start + b"(K\x01" + shape + kind + b"\x89" + raw + b"tb."


EIGHT = b"C\x08" + np.array([1, 2], dtype="<f4").tobytes()
REFUSED = [
    # operations that data does not need
    (b"Pabc\n.", "persistent"),
    (b"\x80\x02\x82\x01.", "extension"),
    (b"\x80\x05\x97.", "buffer"),
    (b"}}K\x01K\x02sb.", "sets the state of '{}'"),
    (b"cgensim.utils\nX\n}b.", "sets the state of"),
    (b"c_codecs\nencode\nN}\x86b.", "sets the state of '<function"),
    (b"cbuiltins\nbytes\nJ\x00\x00\x00\x7f\x85R.", "damaged"),
    (b"cgensim.utils\nX\n)\x81K\x01a.", "damaged"),
    (b"K\x01)R.", "damaged"),
    # arrays whose content is of another size or kind than they say
    (array_of("V8", b"K\x01\x85", EIGHT, "|"), "of type 'V8'"),
    (array_of("f4,O", b"K\x01\x85", EIGHT, "|"), "of type 'f4,O'"),
    (array_of("(1000000,1000000)f8", b"K\x01\x85", EIGHT), "of type"),
    (array_of("f4", b"K\x02\x85", EIGHT, "?"), "byte order"),
    (array_of("O8", b"K\x01\x85", EIGHT, "|"), "damaged"),
    (array_of("O8", b"K\x01\x85", b"]", "|"), "damaged"),
    (array_of("f4", b"K\x03\x85", EIGHT), "damaged"),
    (array_of("f4", b"K\x02\x85", b"J\x08\x00\x00\x7f"), "damaged"),
    (array_of("f4", b"J\xfe\xff\xff\xffJ\xff\xff\xff\xff\x86", EIGHT), "damaged"),
    (pickle.dumps(np.zeros(2, dtype=[("a", "f4"), ("b", "O")])), "of type 'V12'"),
    # damaged files
    (b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc.", "damaged"),
    (b"I" + b"9" * 5000 + b"\n.", "damaged"),
    (b"", "damaged"),
    (b"<!DOCTYPE html><html><body>Not found</body></html>", "damaged"),
    (b"\x93NUMPY\x01\x00\xff\xff{", "damaged"),
    (b"\x93NUMPY\x01\x00\x76\x00{'descr'\x0c(" + b" " * 120, "damaged"),
]


@pytest.mark.parametrize(("content", "reason"), REFUSED)
def test_what_is_not_data_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    assert reason in refused(content, tmp_path)


def test_the_hand_made_array_is_one(tmp_path: Path) -> None:
    assert read(array_of("f4", b"K\x02\x85", EIGHT), tmp_path).tolist() == [1.0, 2.0]


def test_attributes_that_python_would_act_on_stay_data(tmp_path: Path) -> None:
    names = ("__setstate__", "__class__", "__reduce__", "__del__", "__dict__", "name", "fields", "get")
    state = b"}(" + b"".join(text(name) + b"K\x07" for name in names) + b"u"
    record = read(b"\x80\x02cgensim.utils\nX\n)\x81" + state + b"b}" + text("again") + b"K\x08sb.", tmp_path)
    assert isinstance(record, Record)
    assert record.name == "gensim.utils.X"
    assert record.fields == {**dict.fromkeys(names, 7), "again": 8}
    assert record.get("name") == 7


def test_a_large_index_of_the_memo_reserves_nothing(tmp_path: Path) -> None:
    assert read(b"\x80\x02K\x05r\xff\xff\xff\x7fj\xff\xff\xff\x7f\x86.", tmp_path) == (5, 5)


def test_numeric_npy_and_missing_files_are_named(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.ones(3))
    assert "holds an array of float64" in refused(buffer.getvalue(), tmp_path)
    with pytest.raises(InputError, match=r"absent\.pkl cannot be read: No such file"):
        read_pickle(tmp_path / "absent.pkl")
