"""Entries that are filled and read in place: the same files as all others, without their way through memory."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from class_kit.cache import cache_entries, cache_key, clear_cache, load_entry, store_entry
from class_kit.cache_maps import _TYPES, Arrays, Filling, cached_map, map_entry
from class_kit.cli import main
from class_kit.errors import InputError

KEY = cache_key(text="one")
SHAPES = {"tokens": ((5, 3), "float16"), "counts": ((7,), "int64"), "flags": ((1, 3), "uint8")}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    place = tmp_path / "cache"
    monkeypatch.setenv("CLASS_KIT_CACHE", str(place))
    return place


def fill(arrays: Arrays) -> None:
    for array in arrays.values():
        array[...] = np.arange(array.size).reshape(array.shape)


def plan() -> Filling:
    return SHAPES, fill


def never() -> Filling:
    raise AssertionError("computed although it is stored")


def check(arrays: Arrays | None) -> None:
    assert arrays is not None
    assert set(arrays) == set(SHAPES)
    for name, (shape, dtype) in SHAPES.items():
        assert (arrays[name].shape, arrays[name].dtype) == (shape, np.dtype(dtype))
        np.testing.assert_array_equal(arrays[name].ravel(), np.arange(arrays[name].size))
        with pytest.raises(ValueError, match="read-only"):
            arrays[name][0] = 1


def is_mapped(array: np.ndarray) -> bool:
    base: object = array
    while isinstance(base, np.ndarray | memoryview):
        if isinstance(base, np.memmap):
            return True
        base = base.obj if isinstance(base, memoryview) else base.base
    return False


def test_a_second_call_maps_what_the_first_filled() -> None:
    first = cached_map("tokens", KEY, plan)
    check(first)
    again = cached_map("tokens", KEY, never)
    check(again)
    assert all(is_mapped(array) for array in (*first.values(), *again.values()))


@pytest.mark.parametrize("use", [True, False])
def test_other_processes_see_what_was_just_filled(use: bool) -> None:
    from joblib import Parallel, delayed

    arrays = cached_map("tokens", KEY, plan, use=use)
    sums = Parallel(n_jobs=2)(delayed(np.sum)(array, dtype=float) for array in arrays.values())
    assert sums == [array.sum(dtype=float) for array in arrays.values()]


def test_the_file_is_one_that_safetensors_and_the_cache_read(capsys: pytest.CaptureFixture[str]) -> None:
    cached_map("tokens", KEY, plan)
    (entry,) = cache_entries()
    assert (entry.kind, entry.key, entry.shape) == ("tokens", KEY, (5, 3))
    assert entry.size == entry.path.stat().st_size
    for arrays in (load_file(entry.path), load_entry("tokens", KEY)):
        assert arrays is not None
        assert {name: array.tolist() for name, array in arrays.items()} == {
            name: np.arange(np.prod(shape)).reshape(shape).tolist() for name, (shape, _) in SHAPES.items()
        }
    assert main(["cache", "list", "--kind", "tokens"]) == 0
    assert KEY[:12] in capsys.readouterr().out
    assert clear_cache("tokens") == (1, entry.size)
    assert map_entry("tokens", KEY) is None


def test_an_ordinary_entry_can_be_mapped_too() -> None:
    store_entry("text", KEY, {"vectors": np.arange(6.0).reshape(2, 3), "row": np.array([True, False])})
    found = map_entry("text", KEY)
    assert found is not None
    assert found["vectors"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found["row"].tolist() == [True, False]


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3).filter(lambda name: name != "__metadata__"),
        st.tuples(st.lists(st.integers(0, 3), max_size=3).map(tuple), st.sampled_from(sorted(_TYPES))),
        min_size=1,
        max_size=4,
    )
)
def test_arrays_of_any_shape_come_back_aligned(shapes: dict[str, tuple[tuple[int, ...], str]]) -> None:
    clear_cache()
    filled: dict[str, np.ndarray] = {}

    def fill_and_note(arrays: Arrays) -> None:
        fill(arrays)
        filled.update({name: array.copy() for name, array in arrays.items()})

    cached_map("shapes", KEY, lambda: (shapes, fill_and_note))
    loaded, mapped = load_entry("shapes", KEY), map_entry("shapes", KEY)
    assert loaded is not None
    assert mapped is not None
    for name, (shape, dtype) in shapes.items():
        for found in (loaded[name], mapped[name]):
            assert (found.shape, found.dtype) == (shape, np.dtype(dtype))
            np.testing.assert_array_equal(found, filled[name])
        assert mapped[name].flags.aligned


def test_without_the_cache_nothing_is_left_on_disk(folder: Path) -> None:
    arrays = cached_map("tokens", KEY, plan, use=False)
    check(arrays)
    assert all(is_mapped(array) for array in arrays.values())
    assert not folder.exists()
    cached_map("tokens", KEY, plan)
    with pytest.raises(AssertionError, match="computed although"):
        cached_map("tokens", KEY, never, use=False)


def damage_header(content: bytearray) -> None:
    content[20] ^= 1


def damage_length(content: bytearray) -> None:
    content[5] = 255


def damage_value(content: bytearray) -> None:
    content[-4] ^= 1


def cut(content: bytearray) -> None:
    del content[-10:]


def empty(content: bytearray) -> None:
    content.clear()


@pytest.mark.parametrize("harm", [damage_header, damage_length, damage_value, cut, empty])
def test_a_damaged_file_is_removed_with_a_warning_and_made_again(
    harm: Callable[[bytearray], None], caplog: pytest.LogCaptureFixture
) -> None:
    cached_map("tokens", KEY, plan)
    (entry,) = cache_entries()
    content = bytearray(entry.path.read_bytes())
    harm(content)
    entry.path.write_bytes(content)
    assert map_entry("tokens", KEY) is None
    assert f"cache file {entry.path} was removed" in caplog.text
    assert not entry.path.exists()
    check(cached_map("tokens", KEY, plan))


def test_an_error_while_filling_leaves_nothing(folder: Path) -> None:
    def crash(arrays: Arrays) -> None:
        arrays["counts"][0] = 5
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cached_map("tokens", KEY, lambda: (SHAPES, crash))
    assert list((folder / "tokens").iterdir()) == []


@pytest.mark.parametrize("where", ["folder", "space", "move"])
def test_a_cache_that_cannot_be_written_costs_no_result(
    where: str, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[str] = []

    def count(arrays: Arrays) -> None:
        calls.append("filled")
        fill(arrays)

    def full(descriptor: int, start: int, length: int) -> None:
        if str(folder) in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")

    def stuck(*_: object) -> None:
        raise PermissionError("not to be moved")

    if where == "folder":
        folder.write_text("a file where the folder should be")
    elif where == "space":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(os, "replace", stuck)
    with caplog.at_level(logging.WARNING):
        check(cached_map("tokens", KEY, lambda: (SHAPES, count)))
    assert calls == ["filled"]
    assert "was not kept in the cache" in caplog.text
    assert cache_entries() == ()


def test_a_large_entry_takes_no_memory_of_its_size() -> None:
    """A file of 100 MB is filled and read in 64 MB of memory that is the process's own."""
    program = """
import resource, numpy as np
from class_kit.cache_maps import cached_map
resource.setrlimit(resource.RLIMIT_DATA, (64 << 20, 64 << 20))
def fill(arrays):
    for block in range(0, 100_000, 10_000):
        arrays["tokens"][block : block + 10_000] = block // 10_000
try:
    np.ones((100_000, 500), np.float16)
except MemoryError:
    made = cached_map("tokens", "0" * 64, lambda: ({"tokens": ((100_000, 500), "float16")}, fill))
    found = cached_map("tokens", "0" * 64, None)
    assert found["tokens"][99_999, 5] == made["tokens"][90_000, 0] == 9
    print("mapped")
"""
    # every thread of a numerical library has memory of its own
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, env=environment)
    assert (done.stdout, done.stderr) == ("mapped\n", "")


def test_names_and_types_that_cannot_be_stored_are_refused() -> None:
    with pytest.raises(InputError, match="cache kind"):
        cached_map("../x", KEY, plan)
    with pytest.raises(InputError, match=r"types \['complex64'\]: expected .* float64"):
        cached_map("tokens", KEY, lambda: ({"a": ((1,), "complex64")}, fill))
    with pytest.raises(InputError, match="expected at least one array"):
        cached_map("tokens", KEY, lambda: ({}, fill))
