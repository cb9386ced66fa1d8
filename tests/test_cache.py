"""The cache gives back what was stored or says that it cannot: keys, damage, crashes, two processes, listing."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from class_kit import cache
from class_kit.cache import cache_entries, cache_folder, cache_key, cached, clear_cache, load_entry, store_entry
from class_kit.errors import InputError
from class_kit.files import atomic_write

KEY = cache_key(text="one")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("CLASS_KIT_CACHE", str(place))
    return place


def arrays() -> dict[str, np.ndarray]:
    return {"vectors": np.arange(12, dtype=np.float32).reshape(3, 4), "counts": np.array([3, 1, 2], dtype=np.int64)}


def never() -> dict[str, np.ndarray]:
    raise AssertionError("computed although it is stored")


def test_folder_is_the_environments_choice_or_in_the_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_folder() == folder
    monkeypatch.delenv("CLASS_KIT_CACHE")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder() == Path("/home/someone/.cache/class-kit")


texts = st.lists(st.text(max_size=4), max_size=4)


@settings(deadline=None, max_examples=200)
@given(texts, texts)
def test_lists_share_a_key_only_when_equal(first: list[str], second: list[str]) -> None:
    assert (cache_key(texts=first) == cache_key(texts=second)) == (first == second)


def test_a_key_sees_names_types_and_boundaries() -> None:
    parts: list[dict[str, cache.Part]] = [
        {"a": "1"},
        {"b": "1"},
        {"a": 1},
        {"a": 1.0},
        {"a": True},
        {"a": None},
        {"a": b"1"},
        {"a": ["1"]},
        {"a": ["1", ""]},
        {"a": []},
        {"a": ""},
        {"a": "1", "b": "1"},
        {"ab": "1"},
        {"a": np.array([1], dtype=np.int64)},
        {"a": np.array([1], dtype=np.uint64)},
        {"a": np.array([[1]], dtype=np.int64)},
        {"a": np.array([1.0], dtype=np.float64)},
    ]
    assert len({cache_key(**part) for part in parts}) == len(parts)
    assert cache_key(a="1", b=2) == cache_key(b=2, a="1")
    assert cache_key(a=["x", "y"]) == cache_key(a=("x", "y"))


def test_a_key_of_an_array_does_not_depend_on_its_layout_in_memory() -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert cache_key(a=array) == cache_key(a=np.asfortranarray(array))


@pytest.mark.parametrize("part", [{"a": 1}, object(), [1], np.array(["x"]), {"x"}])
def test_a_part_without_stable_bytes_is_refused(part: object) -> None:
    with pytest.raises(TypeError, match="cache part 'thing' is"):
        cache_key(thing=part)  # type: ignore[arg-type]


def test_a_second_call_reads_what_the_first_computed() -> None:
    first = cached("text", KEY, arrays)
    second = cached("text", KEY, never)
    for name, array in arrays().items():
        for found in (first[name], second[name]):
            assert found.dtype == array.dtype
            np.testing.assert_array_equal(found, array)


def test_without_the_cache_nothing_is_read_or_written(folder: Path) -> None:
    cached("text", KEY, arrays, use=False)
    assert not folder.exists()
    store_entry("text", KEY, arrays())
    other = cached("text", KEY, lambda: {"vectors": np.zeros(1)}, use=False)
    assert other["vectors"].shape == (1,)


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "float16"]),
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
)
def test_any_numeric_array_comes_back_as_it_was(dtype: str, shape: tuple[int, ...]) -> None:
    array = (np.arange(np.prod(shape, dtype=int)) % 2).astype(dtype).reshape(shape)
    store_entry("shapes", KEY, {"a": array})
    found = load_entry("shapes", KEY)
    assert found is not None
    assert found["a"].dtype == array.dtype
    assert found["a"].shape == shape
    np.testing.assert_array_equal(found["a"], array)


def test_the_same_arrays_make_the_same_file() -> None:
    first = store_entry("text", KEY, arrays()).read_bytes()
    assert store_entry("text", KEY, {**arrays()}).read_bytes() == first


def test_a_flipped_bit_anywhere_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    path = store_entry("text", KEY, arrays())
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        found = load_entry("text", KEY)
        # a bit of the header's filling or of an unused name may change without changing what is read
        if found is not None:
            assert found.keys() == arrays().keys()
            assert all((found[name] == array).all() for name, array in arrays().items())
            assert place < len(whole) - 72
        else:
            assert not path.exists()
            assert "was removed and will be made again" in caplog.text
        caplog.clear()


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_a_damaged_file_is_removed_with_a_warning_and_made_again(keep: int, caplog: pytest.LogCaptureFixture) -> None:
    path = store_entry("text", KEY, arrays())
    path.write_bytes(path.read_bytes()[:keep])
    with caplog.at_level(logging.WARNING):
        again = cached("text", KEY, arrays)
    assert str(path) in caplog.text
    np.testing.assert_array_equal(again["vectors"], arrays()["vectors"])
    assert load_entry("text", KEY) is not None


def test_a_sound_file_of_another_entry_is_not_taken_for_this_one(caplog: pytest.LogCaptureFixture) -> None:
    other = cache_key(text="two")
    path = store_entry("text", KEY, arrays())
    for kind, key in (("text", other), ("mol2vec", KEY)):
        foreign = path.parents[1] / kind / f"{key}.safetensors"
        foreign.parent.mkdir(exist_ok=True)
        foreign.write_bytes(path.read_bytes())
        assert load_entry(kind, key) is None
        assert "another entry's" in caplog.text
        assert not foreign.exists()
    assert load_entry("text", KEY) is not None


def test_a_crash_while_writing_leaves_no_entry(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(os, "replace", crash)
        with pytest.raises(KeyboardInterrupt):
            cached("text", KEY, arrays)
    assert load_entry("text", KEY) is None
    assert list((folder / "text").iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_no_result(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder.write_text("a file where the folder should be")
    result = cached("text", KEY, arrays)
    np.testing.assert_array_equal(result["vectors"], arrays()["vectors"])
    assert "was not kept in the cache" in caplog.text


def test_two_processes_at_once_end_well() -> None:
    program = """
import sys, time, numpy as np
from class_kit.cache import cached
time.sleep(max(0.0, float(sys.argv[1]) - time.time()))
for number in range(60):
    made = cached("race", f"{number:064x}", lambda: {"a": np.full(5000, number)})
    assert (made["a"] == number).all() and made["a"].shape == (5000,)
"""
    start = str(time.time() + 2.0)
    running = [
        subprocess.Popen([sys.executable, "-c", program, start], stderr=subprocess.PIPE, text=True) for _ in range(2)
    ]
    for process in running:
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said) == (0, "")
    assert len(cache_entries("race")) == 60
    assert all(load_entry("race", f"{number:064x}") is not None for number in range(60))


def test_entries_tell_what_is_there_and_clearing_takes_only_those(folder: Path) -> None:
    assert cache_entries() == ()
    other = cache_key(text="two")
    first = store_entry("text", KEY, arrays())
    store_entry("mol2vec", KEY, arrays())
    store_entry("mol2vec", other, {"only": np.zeros((2, 5))})
    foreign = [folder / "notes.txt", folder / "text" / "notes.safetensors", folder / "text" / "readme"]
    for path in foreign:
        path.write_text("not the cache's")
    abandoned = folder / "text" / f".{KEY}.safetensors.abcdefgh.tmp"
    abandoned.write_text("half")

    entries = cache_entries()
    assert {(entry.kind, entry.key) for entry in entries} == {("text", KEY), ("mol2vec", KEY), ("mol2vec", other)}
    assert [entry.kind for entry in entries] == ["mol2vec", "mol2vec", "text"]
    found = {(entry.kind, entry.key): entry for entry in entries}
    assert found["text", KEY].shape == (3, 4)
    assert found["mol2vec", other].shape == (2, 5)
    assert found["text", KEY].size == first.stat().st_size
    assert found["text", KEY].created.endswith("+00:00")
    assert cache_entries("text") == (found["text", KEY],)

    assert clear_cache("mol2vec") == (2, sum(entry.size for entry in entries if entry.kind == "mol2vec"))
    assert len(cache_entries()) == 1
    with atomic_write(first.parent / f"{other}.safetensors") as in_use:
        assert clear_cache() == (1, found["text", KEY].size)
        assert in_use.exists()
        in_use.write_text("")
    first.parent.joinpath(f"{other}.safetensors").unlink()
    assert cache_entries() == ()
    assert all(path.exists() for path in foreign)
    assert not abandoned.exists()


def test_a_file_with_a_damaged_header_is_listed_and_cleared() -> None:
    store_entry("text", KEY, arrays()).write_bytes(b"no header")
    (entry,) = cache_entries()
    assert (entry.shape, entry.size) == ((), 9)
    assert clear_cache() == (1, 9)


@pytest.mark.parametrize(
    ("kind", "key"), [("../x", KEY), ("Text", KEY), ("", KEY), ("text", "../../etc"), ("text", "")]
)
def test_names_that_could_leave_the_folder_are_refused(kind: str, key: str) -> None:
    with pytest.raises(InputError, match="expected"):
        store_entry(kind, key, arrays())
    with pytest.raises(InputError, match="expected"):
        load_entry(kind, key)


def test_an_entry_without_arrays_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least one array"):
        store_entry("text", KEY, {})
