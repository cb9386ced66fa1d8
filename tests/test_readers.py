"""Reading tables: what works gives exactly the cells, anything else one error (`hostile_files` has the table)."""

from __future__ import annotations

import csv
import gzip
import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.pairs import readers
from class_kit.pairs.readers import MAX_CELL, read_table

PLAIN = b"text,smiles\nan alcohol,CCO\n"
PLAIN_CELLS = {"text": ["an alcohol"], "smiles": ["CCO"]}


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.CSV", PLAIN, PLAIN_CELLS),
        ("a.txt", PLAIN, PLAIN_CELLS),
        ("a.csv.gz", gzip.compress(PLAIN, mtime=0), PLAIN_CELLS),
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN, PLAIN_CELLS),
        ("crlf.csv", PLAIN.replace(b"\n", b"\r\n"), PLAIN_CELLS),
        ("cr.csv", PLAIN.replace(b"\n", b"\r"), PLAIN_CELLS),
        ("noend.csv", PLAIN[:-1], PLAIN_CELLS),
        ("a.tsv", b"text\tsmiles\na, b\tC\n", {"text": ["a, b"], "smiles": ["C"]}),
        ("a.txt", b"text\tsmiles\na, b\tC\n", {"text": ["a, b"], "smiles": ["C"]}),
        ("quoted.csv", b'text,smiles\n"a ""b"",\nc",C\n', {"text": ['a "b",\nc'], "smiles": ["C"]}),
        ("blank.csv", b"text,smiles\n\na,C\n\n", {"text": ["a"], "smiles": ["C"]}),
        ("names.csv", b", smiles\n7,C\n", {"column 1": ["7"], "smiles": ["C"]}),
        ("separator.csv", "text\na\u2028b\x85c\n".encode(), {"text": ["a\u2028b\x85c"]}),
        ("emoji.csv", "text,smiles\n🧪 \u202eacid,C\n".encode(), {"text": ["🧪 \u202eacid"], "smiles": ["C"]}),
    ],
)
def test_cells_are_read_exactly(tmp_path, name, content, columns):
    table = read_table(written(tmp_path, name, content))
    assert (table.columns, table.bad, table.literal_quotes) == (columns, [], False)


def test_a_bomb_is_stopped_long_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_BYTES", 1 << 20)
    path = written(tmp_path, "bomb.csv.gz", gzip.compress(b"text\n" + b"a" * (8 << 20)))
    with pytest.raises(InputError, match="more than 1,048,576 bytes"):
        read_table(path)


def test_cells_up_to_the_limit(tmp_path):
    table = read_table(written(tmp_path, "long.csv", b"text,smiles\n" + b"a" * MAX_CELL + b",C\n"))
    assert len(table.columns["text"][0]) == MAX_CELL
    with pytest.raises(InputError, match="line 2"):
        read_table(written(tmp_path, "longer.csv", b"text,smiles\n" + b"a" * (MAX_CELL + 1) + b",C\n"))


def test_a_byte_that_is_not_utf8_is_placed_however_far_it_is(tmp_path):
    with pytest.raises(InputError, match="byte 0xe9 on line 300001 "):
        read_table(written(tmp_path, "far.csv", b"a,b,c,d\n" * 300_000 + b"caf\xe9,b,c,d\n"))
    whole = "é" * 600_001
    assert read_table(written(tmp_path, "cut.csv", f"text\na{whole}\n".encode())).columns == {"text": ["a" + whole]}


def test_ragged_rows_are_set_aside_with_their_places(tmp_path):
    table = read_table(written(tmp_path, "a.csv", b'text,smiles\n"two\nlines",C\n\nshort\na,b,c\nlast,CC\n'))
    assert table.columns == {"text": ["two\nlines", "last"], "smiles": ["C", "CC"]}
    assert table.rows == [1, 4]
    assert table.lines == [2, 7]
    assert [(bad.row, bad.line) for bad in table.bad] == [(2, 5), (3, 6)]
    assert table.bad[0].reason == "1 fields where the header has 2"


@pytest.mark.parametrize(("header", "quoting"), [("a\tb\tc", False), ("CID\tSMILES\tdescription", True)])
def test_without_quoting_a_quote_is_a_character(tmp_path, header, quoting):
    path = written(tmp_path, "a.tsv", f'{header}\n1\tC\t"never closed\n2\tCC\t5\'"-phosphate\n'.encode())
    table = read_table(path, quoting=quoting)
    assert list(table.columns.values())[2] == ['"never closed', "5'\"-phosphate"]
    assert table.literal_quotes


def test_parquet_keeps_types_and_names_what_it_skips(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"text": ["a", None], "cid": [1, 2], "parts": [["x"], []], "raw": [b"\x00", b"\x01"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    read = read_table(tmp_path / "a.parquet")
    assert read.columns == {"text": ["a", None], "cid": [1, 2]}
    assert set(read.skipped) == {"parts", "raw"}
    assert read.lines == [None, None]
    monkeypatch.setattr(readers, "MAX_BYTES", 10)
    with pytest.raises(InputError, match="once decompressed"):
        read_table(tmp_path / "a.parquet")


# The csv writer quotes neither a lone carriage return nor (in a one-column row) white space in every release.
CELLS = st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), max_size=20)


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_what_the_csv_writer_writes_is_read_back(tmp_path_factory, rows):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("text", "smiles", "more"), *rows])
    path = tmp_path_factory.getbasetemp() / "written.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert list(zip(*read_table(path).columns.values(), strict=True)) == rows
