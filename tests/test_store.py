"""Results by item: only what is new is computed, nothing is lost or read wrongly, and a bad disk costs time alone."""

import logging
import pickle
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from class_kit import store
from class_kit.errors import InputError
from class_kit.store import Maker, cache_entries, cache_folder, clear_cache, digest_of, stored, stored_vectors
from tests.faulty_places import python, wait_until

pytestmark = pytest.mark.usefixtures("own_cache")
MAKER = Maker("text", "owner/Some Model", digest_of(weights="one"))
TEXTS = ["water", "an acid", "water", "α-D-glucose", "\ud800"]


class Backwards:
    """Turns strings round, the last first, and remembers the rows it was asked for."""

    def __init__(self, items: list[str]) -> None:
        self.items = items
        self.asked: list[int] = []

    def __call__(self, rows: list[int]) -> Iterator[tuple[int, bytes]]:
        self.asked = rows
        for row in reversed(rows):
            yield row, self.items[row].encode("utf-8", "surrogatepass")[::-1] * 3


def expected(items: list[str]) -> list[bytes]:
    return [item.encode("utf-8", "surrogatepass")[::-1] * 3 for item in items]


def read(items: list[str], **options: Any) -> tuple[list[bytes], list[int]]:
    """Values of the items, and the rows that had to be computed."""
    compute = Backwards(items)
    return stored(MAKER, items, compute, **options).read(), compute.asked


def never(rows: list[int]) -> Iterator[tuple[int, bytes]]:
    raise AssertionError(f"asked for {rows} although all is stored")


@pytest.mark.parametrize("hold", [True, False])
def test_only_what_is_new_is_computed_once_and_in_any_order(hold: bool) -> None:
    assert read(TEXTS, hold=hold) == (expected(TEXTS), [0, 1, 3, 4])
    assert read(TEXTS[::-1], hold=hold) == (expected(TEXTS[::-1]), [])
    more = ["new", *TEXTS[1:], "newer", "new"]
    assert read(more, hold=hold) == (expected(more), [0, 5])
    values = stored(MAKER, more, never, hold=hold)
    assert values.sizes.tolist() == [len(value) for value in expected(more)]
    # what is left on disk is sent to the processes of a pool
    assert pickle.loads(pickle.dumps(values)).read(np.array([5, 0, 5])) == expected(["newer", "new", "newer"])


def test_another_maker_or_kind_shares_nothing_and_another_name_everything(own_cache: Path) -> None:
    assert read(TEXTS, use=False) == (expected(TEXTS), [0, 1, 3, 4])
    assert not own_cache.exists()
    read(TEXTS)
    assert read(TEXTS, use=False)[1] == [0, 1, 3, 4]
    for maker in (Maker("text", MAKER.name, digest_of(weights="two")), Maker("tokens", MAKER.name, MAKER.digest)):
        with pytest.raises(AssertionError, match="although"):
            stored(maker, TEXTS, never)
    assert stored(Maker("text", "elsewhere", MAKER.digest), TEXTS, never).read() == expected(TEXTS)


def test_vectors_come_back_bit_for_bit() -> None:
    vectors = np.random.default_rng(0).normal(size=(4, 5)).astype(np.float32)
    items = ["a", "b", "c", "d"]

    def compute(rows: list[int]) -> Iterator[tuple[int, int, np.ndarray]]:
        for row in reversed(rows):
            yield row, row * 10, vectors[row]

    for _ in range(2):
        numbers, got = stored_vectors(MAKER, items, compute)
        assert (numbers.dtype, got.dtype) == (np.int64, np.float32)
        assert numbers.tolist() == [0, 10, 20, 30]
        assert got.tobytes() == vectors.tobytes()
    got[:] = 0  # the caller's own
    assert stored_vectors(MAKER, items[::-1], compute)[1].tobytes() == vectors[::-1].tobytes()


def test_an_interruption_loses_nothing_that_is_finished() -> None:
    items = [str(number) for number in range(10)]

    def interrupted(rows: list[int]) -> Iterator[tuple[int, bytes]]:
        yield from list(Backwards(items)(rows))[:6]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(MAKER, items, interrupted)
    assert read(items) == (expected(items), [0, 1, 2, 3])


_SLOW = """
import sys, time
from class_kit import store
from class_kit.store import Maker, stored
store._SECONDS_BETWEEN_WRITES = 0.01
first, last, pause = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
items = [str(number) for number in range(first, last)]
def compute(rows):
    for row in rows:
        time.sleep(pause)
        yield row, items[row].encode() * 3
assert stored(Maker("text", "slow", "0" * 64), items, compute).read() == [item.encode() * 3 for item in items]
"""


def slow(first: int, last: int, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _SLOW, str(first), str(last), str(pause)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def kept() -> int:
    return sum(entry.items or 0 for entry in cache_entries())


def test_a_killed_process_goes_on_where_it_was() -> None:
    process = slow(0, 1000, 0.05)
    wait_until(lambda: kept() >= 5 or process.poll() is not None)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = kept()
    items = [str(number) for number in range(200)]
    asked: list[int] = []
    stored(Maker("text", "slow", "0" * 64), items, lambda rows: ((asked.append(row) or row, b"") for row in rows))
    assert before >= 5
    assert asked == list(range(before, 200))


def test_two_processes_at_once_lose_nothing() -> None:
    running = [slow(0, 150, 0.002), slow(100, 250, 0.002)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert (process.returncode, errors) == (0, "")
    assert kept() == 250


def test_equal_work_at_once_is_done_once() -> None:
    begun, go_on, counts = Event(), Event(), []

    def first(rows: list[int]) -> Iterator[tuple[int, bytes]]:
        begun.set()
        assert go_on.wait(60)
        counts.append(len(rows))
        yield from Backwards(TEXTS)(rows)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(stored, MAKER, TEXTS, first)
        assert begun.wait(60)
        other = pool.submit(stored, MAKER, TEXTS, never)
        with pytest.raises(TimeoutError):
            other.result(timeout=0.2)
        go_on.set()
        assert one.result().read() == other.result().read() == expected(TEXTS)
    assert counts == [4]
    assert not list(MAKER.path.parent.glob(".*")), "no lock is left"


ROWS = {
    "row": "zeroblob(length(value))",
    "another's row": "(SELECT value FROM items WHERE length(value) = 21)",
    "not bytes": "'text'",
}


def damage(path: Path, how: str) -> None:
    whole = path.read_bytes()
    if how in ROWS:
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE items SET value = {ROWS[how]} WHERE length(value) = 15")
    else:
        left = {"pages": whole[:100] + bytes(len(whole) - 100), "short": whole[: len(whole) // 2], "empty": b""}
        path.write_bytes(left.get(how, b"no database" + whole[11:]))


@pytest.mark.parametrize("how", [*ROWS, "pages", "short", "header", "empty"])
def test_what_is_damaged_is_noticed_and_made_again(how: str, caplog: pytest.LogCaptureFixture) -> None:
    read(TEXTS)
    damage(MAKER.path, how)
    with caplog.at_level(logging.WARNING):
        values, asked = read(TEXTS)
    assert values == expected(TEXTS)
    assert asked == ([0] if how in ROWS else [0, 1, 3, 4])
    assert how == "empty" or "will be computed again" in caplog.text
    assert stored(MAKER, TEXTS, never).read() == expected(TEXTS)


def test_flipped_bits_never_give_other_values() -> None:
    items = [f"text {number}" for number in range(40)]
    read(items)
    whole = MAKER.path.read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.choice(len(whole), 60, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        MAKER.path.write_bytes(damaged)
        assert read(items)[0] == expected(items)


def test_a_disk_that_fills_up_on_the_way_costs_no_result(monkeypatch, caplog) -> None:
    """Rows written before stay, those after are held; none is asked for again within the call."""
    items, real = [str(number) for number in range(9)], store._write
    monkeypatch.setattr(store, "_SECONDS_BETWEEN_WRITES", 0.0)

    def filling(path: Path, values: dict[bytes, bytes]) -> bool:
        if kept() >= 4:
            monkeypatch.setattr(store, "_TABLE", "CREATE TABLE no_room")
        return real(path, values)

    monkeypatch.setattr(store, "_write", filling)
    assert read(items, hold=False)[0] == expected(items)
    assert caplog.text.count("results could not be written") == 1
    assert kept() == 4


def test_values_left_on_disk_take_no_memory() -> None:
    """120 MB are made, checked and read in part in 96 MB of memory that is the process's own."""
    program = """
import resource, numpy as np
from class_kit import store
from class_kit.store import Maker, stored
store._SECONDS_BETWEEN_WRITES = 0.01
resource.setrlimit(resource.RLIMIT_DATA, (96 << 20, 96 << 20))
items = [str(number) for number in range(120)]
def compute(rows):
    for row in rows:
        yield row, bytes([row]) * 1_000_000
for _ in range(2):
    values = stored(Maker("tokens", "large", "0" * 64), items, compute, hold=False)
    compute = None
assert values.sizes.sum() == 120_000_000
assert values.read([99, 3]) == [bytes([99]) * 1_000_000, bytes([3]) * 1_000_000]
print("read")
"""
    # every thread of a numerical library has memory of its own
    done = python("-c", program, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")
    assert (done.stdout, done.stderr) == ("read\n", "")


def test_entries_tell_what_is_there_and_clearing_takes_only_those(own_cache: Path) -> None:
    assert cache_entries() == ()
    other = Maker("mol2vec", "vectors", digest_of(weights="two"))
    read(TEXTS)
    stored(other, TEXTS[:2], Backwards(TEXTS[:2]))
    foreign = [own_cache / "notes.sqlite", own_cache / "text" / "notes.sqlite", own_cache / "text" / "readme"]
    for path in foreign:
        path.write_text("not the cache's")
    first, second = cache_entries()
    assert [(entry.kind, entry.name, entry.items) for entry in (first, second)] == [
        ("mol2vec", "vectors", 2),
        ("text", "some-model", 4),
    ]
    assert (second.path, second.size) == (MAKER.path, MAKER.path.stat().st_size)
    assert cache_entries("text") == (second,)
    assert clear_cache("mol2vec") == (1, first.size)
    MAKER.path.write_bytes(b"damaged")
    (entry,) = cache_entries()
    assert (entry.items, entry.size) == (None, 7)
    assert clear_cache() == (1, 7)
    assert cache_entries() == ()
    assert all(path.exists() for path in foreign)


@pytest.mark.parametrize("kind", ["../x", "Text", "*"])
def test_kinds_that_could_leave_the_folder_are_refused(kind: str) -> None:
    for use in (cache_entries, clear_cache):
        with pytest.raises(InputError, match=r"cache kind .*: expected"):
            use(kind)


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "/", "\0", "x" * 300])
def test_no_name_leaves_the_folder(name: str) -> None:
    maker = Maker("text", name, MAKER.digest)
    stored(maker, ["a"], Backwards(["a"]))
    assert maker.path.parent == cache_folder() / "text"
    (entry,) = cache_entries()
    assert entry.path == maker.path


def test_the_folder_is_the_users_where_none_is_named(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    assert cache_folder() == own_cache
    monkeypatch.setenv("CLASS_KIT_CACHE", "~/vectors")
    assert cache_folder() == Path.home() / "vectors"
    monkeypatch.setenv("CLASS_KIT_CACHE", "")
    assert cache_folder() == Path.home() / ".cache" / "class-kit"


# --- digests


def test_digests_tell_names_types_values_and_shapes_apart() -> None:
    flat = np.arange(6)
    parts: list[dict[str, Any]] = [
        {"a": 1}, {"a": "1"}, {"a": 1.0}, {"a": True}, {"a": None}, {"a": ["1"]}, {"b": 1}, {"a": 1, "b": None}, {},
        {"a": "ab", "b": "c"}, {"a": "a", "b": "bc"}, {"a": ["ab", "c"]}, {"a": ["a", "bc"]}, {"a": []}, {"a": [[]]},
        {"a": flat}, {"a": flat.astype(np.int32)}, {"a": flat.reshape(2, 3)}, {"a": flat.reshape(3, 2)}, {"a": -flat},
        {"a": ["<i8", [6]]}, {"a": flat[:0]}, {"a": flat[:0], "b": flat}, {"a": flat, "b": flat[:0]},
    ]  # fmt: skip
    assert len({digest_of(**part) for part in parts}) == len(parts)
    assert digest_of(a="1", b=2) == digest_of(b=2, a="1")
    assert digest_of(a=["x", "y"]) == digest_of(a=("x", "y"))
    array = np.arange(12.0).reshape(3, 4)
    assert digest_of(a=array) == digest_of(a=np.asfortranarray(array))


@pytest.mark.parametrize("part", [b"bytes", {1, 2}, object(), np.array(["a"]), np.array([None], object)])
def test_parts_without_stable_bytes_are_refused(part: Any) -> None:
    with pytest.raises(TypeError):
        digest_of(thing=part)
