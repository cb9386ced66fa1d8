"""Files from strangers: each gives the pairs it holds or one clear error, leaves nothing half-written, and soon ends.

The table is in `hostile_files`; every file goes through the library and through the command line.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import class_kit
from class_kit import cli
from class_kit.errors import InputError
from class_kit.pairs import load_pairs, readers
from tests.hostile_files import CASES, COLUMNS, PLACES, TABLE, WORDS, Case

# many times what the slowest takes on a quiet machine
SECONDS = 60
MAX_RSS = 2_500 << 20


def named(cases: list[Case]) -> Any:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def test_the_table_is_long_and_its_names_differ() -> None:
    assert len(CASES) >= 110
    assert len({case.name for case in CASES}) == len(CASES)


@named(CASES)
def test_a_file_gives_its_pairs_or_one_error(case: Case, tmp_path: Path) -> None:
    path = tmp_path / case.file
    case.make(path)
    started = time.monotonic()
    if case.says:
        with pytest.raises(InputError) as caught:
            load_pairs(path)
        message = str(caught.value)
        assert case.says in message
        assert path.name in message
        assert len(message) < 2_000
    else:
        pairs = load_pairs(path, max_rejected=0.5)
        assert (len(pairs), len(pairs.rejected)) == (case.pairs, case.rejected)
        assert all(case.reason in bad.reason for bad in pairs.rejected)
        assert all(note.isprintable() for note in pairs.notes)
    assert time.monotonic() - started < SECONDS


@named([*COLUMNS, *PLACES, *WORDS])
def test_the_command_line_ends_with_a_table_or_one_line(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed, so texts cannot be embedded")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))
    case.make(tmp_path / case.file)
    code = cli.main(["difficulty", case.file, "--molecule-encoder", "morgan", "--out", "made/d.csv"])
    said = capsys.readouterr()
    assert not {"\x1b", "\x07", "\u202e", "\u200b", "\0"} & set(said.out + said.err)
    left = {path.name for path in (tmp_path / "made").glob("*")}
    if case.says:
        assert code == 2
        assert case.says in said.err
        assert said.err.count("\n") == 1
        assert left <= {"d.rejected.csv"}
        assert ("rows cannot be used" in said.err) == bool(left)
    else:
        assert (code, said.err) == (0, "")
        assert left == {"d.csv", "d.rejected.csv"}
        assert len(read(tmp_path / "made" / "d.csv")) == case.pairs
        rejected = read(tmp_path / "made" / "d.rejected.csv")
        assert len(rejected) == case.rejected
        assert all(case.reason in bad["reason"] for bad in rejected)


def read(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# Small files that unfold to gigabytes. They are read by another process, whose memory is measured and limited.
BOMBS = """
import gzip, json, resource, sys, time
from pathlib import Path
import pyarrow, pyarrow.parquet
from class_kit.errors import InputError
from class_kit.pairs import load_pairs

def zipped(block, times):
    # members of a gzip file follow each other, so that one block is compressed once
    return gzip.compress(b"text,smiles\\n") + gzip.compress(block * ((16 << 20) // len(block))) * times

def parquet(path, columns, **options):
    pyarrow.parquet.write_table(pyarrow.table(columns), path, compression="zstd", **options)

def big(value, times):
    return pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * times, pyarrow.int32()), pyarrow.array([value]))

Path("line.csv.gz").write_bytes(zipped(b"a", 256))
Path("rows.csv.gz").write_bytes(zipped(b"a,C\\n", 256))
Path("cells.csv.gz").write_bytes(zipped(b"a,", 256))
Path("wrong.csv.gz").write_bytes(gzip.compress(b"text,smiles\\n\\xff") + zipped(b"a", 256))
Path("header.csv.gz").write_bytes(gzip.compress(b"a" * (16 << 20)) * 256)
parquet("value.parquet", {"text": big("x" * 1_000_000, 3_000), "smiles": ["C"] * 3_000})
parquet("beside.parquet", {"text": ["a"] * 3_000, "smiles": ["C"] * 3_000, "more": big("x" * 1_000_000, 3_000)})
parquet("rows.parquet", {"text": pyarrow.nulls(10_000_000, pyarrow.string())})
parquet("list.parquet", {"text": ["a"], "smiles": ["C"], "more": pyarrow.ListArray.from_arrays(
    [0, 30_000_000], pyarrow.nulls(30_000_000, pyarrow.int8()))})
def peak():
    # of this process alone: ru_maxrss begins at that of the process which started this one
    status = Path("/proc/self/status")
    if not status.is_file():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM:"))

made = peak()
sizes = {path.name: path.stat().st_size for path in Path().iterdir()}
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
found = {}
for name in sys.argv[1:] or sorted(sizes):
    started = time.monotonic()
    try:
        said = f"{len(load_pairs(name))} pairs"
    except InputError as error:
        said = str(error)
    found[name] = [said[:200], time.monotonic() - started, sizes[name]]
print(json.dumps({"found": found, "made": made, "rss": peak()}))
"""
UNFOLDED = {
    "beside.parquet": "more than 1,073,741,824 bytes",
    "cells.csv.gz": "line 2 cannot be read: it is longer than",
    "header.csv.gz": "line 1 cannot be read: it is longer than",
    "line.csv.gz": "line 2 cannot be read: it is longer than",
    "list.parquet": "1 pairs",
    "rows.csv.gz": "at most 2,000,000 rows",
    "rows.parquet": "10,000,000 rows",
    "value.parquet": "more than 1,073,741,824 bytes",
    "wrong.csv.gz": "byte 0xff on line 2",
}


def test_bombs_are_stopped_in_bounded_time_and_memory(tmp_path: Path) -> None:
    root = str(Path(class_kit.__file__).resolve().parents[1])
    done = subprocess.run(
        [sys.executable, "-c", BOMBS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env=os.environ | {"PYTHONPATH": root},
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    result = json.loads(done.stdout)
    assert set(result["found"]) == set(UNFOLDED)
    for name, (said, seconds, size) in result["found"].items():
        assert UNFOLDED[name] in said
        assert seconds < SECONDS, name
        assert size < 8 << 20, name
    assert result["rss"] * 1024 < MAX_RSS


def test_quoted_lines_without_end_are_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MAX_ROW", 1_000)
    (tmp_path / "a.csv").write_bytes(TABLE + b'"' + b'\n","' * 300)
    with pytest.raises(InputError, match=r"starts on line 7 cannot be read: it is longer than 1,000 characters"):
        load_pairs(tmp_path / "a.csv")
    monkeypatch.setattr(readers, "MAX_CELLS", 8)
    (tmp_path / "b.csv").write_bytes(TABLE + TABLE[12:])
    with pytest.raises(InputError, match="8 values are read"):
        load_pairs(tmp_path / "b.csv")


REFUSED = [
    (["difficulty", "pairs.csv", "--out", "pairs.csv"], "is an input and would be overwritten"),
    (["difficulty", "pairs.csv", "--out", "../here/pairs.csv"], "is an input and would be overwritten"),
    (["difficulty", "pairs.csv", "--out", "link.csv"], "is an input and would be overwritten"),
    (["difficulty", "d.rejected.csv", "--out", "d.csv"], "'d.rejected.csv' is an input"),
    *((["difficulty", "pairs.csv", "--out", out], "") for out in ("pairs.csv/d.csv", "n" * 300, "n" * 250, "", "..")),
    (["difficulty", "corpus", "--sigma", "0.9", "0.90000001"], "given twice"),
    (["difficulty", "pairs.csv", "--encoder", "n" * 5_000], ""),
    (["difficulty", "~no-such-user/a.csv"], "no-such-user"),
    (["difficulty", "chebi20", "--data", "~no-such-user/a"], "no-such-user"),
    (["difficulty", "pairs.csv", "--encoder", "~no-such-user/a", "--molecule-encoder", "morgan"], "no-such-user"),
    (["fetch", "chebi20", "--from", "~no-such-user/a"], "no-such-user"),
    (["fetch", "chebi20", "--folder", "~no-such-user/a"], "no-such-user"),
    (["train", "nowhere.csv", "--out", "made"], "nowhere.csv"),
    (["train", "bad\udce9.csv", "--out", "made"], "bad"),
]


@pytest.mark.parametrize(("command", "says"), REFUSED, ids=[" ".join(command)[:60] for command, _ in REFUSED])
def test_a_command_that_cannot_go_on_is_one_line_and_changes_nothing(
    command: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("torch", reason="torch is not installed, so nothing can be embedded or trained")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = {"pairs.csv": TABLE, "d.rejected.csv": TABLE, "link.csv": TABLE}
    Path("pairs.csv").write_bytes(TABLE)
    Path("d.rejected.csv").write_bytes(TABLE)
    Path("link.csv").symlink_to("pairs.csv")
    assert cli.main(command) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    left = {path.name: path.read_bytes() for path in Path().iterdir() if path.name != "difficulty.rejected.csv"}
    assert left == before
