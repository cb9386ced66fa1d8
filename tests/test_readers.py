"""Reading tables: what works gives exactly the cells, the rest one error that names file and cause."""

from __future__ import annotations

import csv
import gzip
import io
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.pairs import readers
from class_kit.pairs.readers import MAX_CELL, MAX_COLUMNS, read_table

PLAIN = b"text,smiles\nan alcohol,CCO\n"


def written(folder, name, content):
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.csv", PLAIN, {"text": ["an alcohol"], "smiles": ["CCO"]}),
        ("a.CSV", PLAIN, {"text": ["an alcohol"], "smiles": ["CCO"]}),
        ("a.txt", PLAIN, {"text": ["an alcohol"], "smiles": ["CCO"]}),
        ("a.csv.gz", gzip.compress(PLAIN), {"text": ["an alcohol"], "smiles": ["CCO"]}),
        ("a.tsv", b"text\tsmiles\na, b\tC\n", {"text": ["a, b"], "smiles": ["C"]}),
        ("a.txt", b"text\tsmiles\na, b\tC\n", {"text": ["a, b"], "smiles": ["C"]}),
        ("bom.csv", b"\xef\xbb\xbf" + PLAIN, {"text": ["an alcohol"], "smiles": ["CCO"]}),
        ("crlf.csv", PLAIN.replace(b"\n", b"\r\n"), {"text": ["an alcohol"], "smiles": ["CCO"]}),
        ("cr.csv", PLAIN.replace(b"\n", b"\r"), {"text": ["an alcohol"], "smiles": ["CCO"]}),
        ("noend.csv", PLAIN[:-1], {"text": ["an alcohol"], "smiles": ["CCO"]}),
        ("quoted.csv", b'text,smiles\n"a ""b"",\nc",C\n', {"text": ['a "b",\nc'], "smiles": ["C"]}),
        ("blank.csv", b"text,smiles\n\na,C\n\n", {"text": ["a"], "smiles": ["C"]}),
        ("index.csv", b",smiles\n7,C\n", {"column 1": ["7"], "smiles": ["C"]}),
        ("spaces.csv", b" text , smiles\na,C\n", {"text": ["a"], "smiles": ["C"]}),
        ("separator.csv", "text\na\u2028b\x85c\n".encode(), {"text": ["a\u2028b\x85c"]}),
        ("emoji.csv", "text,smiles\n🧪 \u202eacid,C\n".encode(), {"text": ["🧪 \u202eacid"], "smiles": ["C"]}),
    ],
)
def test_cells_are_read_exactly(tmp_path, name, content, columns):
    table = read_table(written(tmp_path, name, content))
    assert table.columns == columns
    assert table.bad == []


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("empty.csv", b"", "is empty"),
        ("bom.csv", b"\xef\xbb\xbf", "is empty"),
        ("header.csv", b"text,smiles\n", "no data row"),
        ("latin.csv", "text\na\ncafé\n".encode("latin-1"), "not UTF-8: byte 0xe9 on line 3"),
        ("latin.csv.gz", gzip.compress("text\ncafé\n".encode("latin-1")), "byte 0xe9 on line 2"),
        ("wide.csv", "text\ncafé\n".encode("utf-16"), "UTF-16"),
        ("wide-be.csv", "text\ncafe\n".encode("utf-16-be"), "NUL bytes"),
        ("nul.csv", b"text\na\0b\n", "NUL bytes"),
        ("open.csv", b'text,smiles\na,C\n"b,C\nc,C\n', "line 3"),
        ("after.csv", b'text,smiles\n"a"b,C\n', "line 2"),
        ("twice.csv", b"text,smiles,text\na,C,b\n", "'text' occurs more than once"),
        ("zip.csv", b"PK\x03\x04rest", "zip archive"),
        ("gzip.csv", gzip.compress(PLAIN), "gzip data"),
        ("parquet.csv", b"PAR1rest", "Parquet file"),
        ("broken.csv.gz", gzip.compress(PLAIN * 100)[:-20], "gzip data is damaged"),
        ("noise.csv.gz", b"\x1f\x8b\x08\x00 not gzip at all", "gzip data is damaged"),
        ("plain.csv.gz", PLAIN, "gzip data is damaged"),
        ("table.xlsx", b"PK\x03\x04", "files of this kind"),
        ("noname", PLAIN, "files of this kind"),
        ("only.gz", gzip.compress(PLAIN), "files of this kind"),
        ("columns.csv", b",".join(b"c%d" % n for n in range(MAX_COLUMNS + 1)) + b"\n1\n", "4,097 columns"),
        ("fake.parquet", b"PAR1 is not enough PAR1", "not a readable Parquet file"),
        ("fake.parquet", b"", "not a readable Parquet file"),
    ],
)
def test_one_error_names_file_and_cause(tmp_path, name, content, words):
    path = written(tmp_path, name, content)
    with pytest.raises(InputError) as failure:
        read_table(path)
    assert words in str(failure.value)
    assert str(path) in str(failure.value)


def test_what_is_no_regular_file(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_table(tmp_path)
    with pytest.raises(InputError, match="no such file"):
        read_table(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="cannot be opened"):
        read_table(tmp_path / "a\0b.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InputError, match="not a regular file"):
        read_table(tmp_path / "pipe.csv")


def test_a_bomb_is_stopped_long_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "MAX_BYTES", 1 << 20)
    path = written(tmp_path, "bomb.csv.gz", gzip.compress(b"text\n" + b"a" * (8 << 20)))
    with pytest.raises(InputError, match="more than 1,048,576 bytes"):
        read_table(path)


def test_cells_up_to_the_limit_and_the_process_wide_setting_is_put_back(tmp_path):
    before = csv.field_size_limit()
    table = read_table(written(tmp_path, "long.csv", b"text,smiles\n" + b"a" * 1_000_000 + b",C\n"))
    assert len(table.columns["text"][0]) == 1_000_000
    with pytest.raises(InputError, match="line 2"):
        read_table(written(tmp_path, "longer.csv", b"text,smiles\n" + b"a" * (MAX_CELL + 1) + b",C\n"))
    assert csv.field_size_limit() == before


def test_ragged_rows_are_set_aside_with_their_places(tmp_path):
    table = read_table(written(tmp_path, "a.csv", b'text,smiles\n"two\nlines",C\n\nshort\na,b,c\nlast,CC\n'))
    assert table.columns == {"text": ["two\nlines", "last"], "smiles": ["C", "CC"]}
    assert table.rows == [1, 4]
    assert table.lines == [2, 7]
    assert [(bad.row, bad.line) for bad in table.bad] == [(2, 5), (3, 6)]
    assert table.bad[0].reason == "1 fields where the header has 2"


def test_without_quoting_a_quote_is_a_character(tmp_path):
    path = written(tmp_path, "a.tsv", b'text\tsmiles\n"open and never closed\tC\n5\'"-phosphate\tCC\n')
    assert read_table(path, quoting=False).columns["text"] == ['"open and never closed', "5'\"-phosphate"]


def test_parquet_keeps_types_and_names_what_it_skips(tmp_path, monkeypatch):
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table({"text": ["a", None], "cid": [1, 2], "parts": [["x"], []], "raw": [b"\x00", b"\x01"]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    read = read_table(tmp_path / "a.parquet")
    assert read.columns == {"text": ["a", None], "cid": [1, 2]}
    assert set(read.skipped) == {"parts", "raw"}
    assert read.lines == [None, None]
    with monkeypatch.context() as small, pytest.raises(InputError, match="once decompressed"):
        small.setattr(readers, "MAX_BYTES", 10)
        read_table(tmp_path / "a.parquet")
    pyarrow.parquet.write_table(table.slice(0, 0), tmp_path / "none.parquet")
    with pytest.raises(InputError, match="no data row"):
        read_table(tmp_path / "none.parquet")


# The csv writer quotes neither a lone carriage return nor (in a one-column row) white space in every release.
CELLS = st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), max_size=20)


@settings(deadline=None, max_examples=150)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_what_the_csv_writer_writes_is_read_back(tmp_path_factory, rows):
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("text", "smiles", "more"), *rows])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert list(zip(*read_table(path).columns.values(), strict=True)) == rows


@settings(deadline=None, max_examples=300)
@given(content=st.binary(max_size=300), name=st.sampled_from(["a.csv", "a.tsv", "a.txt", "a.csv.gz", "a.parquet"]))
def test_any_bytes_give_a_table_or_an_input_error(tmp_path_factory, content, name):
    path = tmp_path_factory.getbasetemp() / f"fuzz-{name}"
    path.write_bytes(content)
    try:
        table = read_table(path)
    except InputError:
        return
    assert all(len(column) == len(table.rows) for column in table.columns.values())
