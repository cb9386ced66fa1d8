"""A table of files that no honest program writes, each with what has to come of it: pairs, or one clear error."""

from __future__ import annotations

import csv
import gzip
import io
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

GOOD = [("an alcohol", "CCO"), ("a paraffin, short", "CC"), ("an acid", "CC(=O)O"), ("an amine", "CCN"), ("water", "O")]
TABLE = ("text,smiles\n" + "".join(f'"{text}",{smiles}\n' for text, smiles in GOOD)).encode()
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Case:
    """A file, made by `make(path)`: `says` is part of the one error, or the file gives so many pairs and rejections."""

    name: str
    file: str
    make: Callable[[Path], object]
    says: str = ""
    pairs: int = 0
    rejected: int = 0
    reason: str = ""


def works(name: str, file: str, content: bytes | Callable[[], bytes], pairs: int = 5, rejected: int = 0) -> Case:
    return Case(name, file, _writer(content), pairs=pairs, rejected=rejected)


def refused(name: str, file: str, content: bytes | Callable[[], bytes], says: str) -> Case:
    return Case(name, file, _writer(content), says=says)


def row(name: str, cells: tuple[str, str], reason: str = "") -> Case:
    """One odd row among good ones: kept, or rejected for a reason."""
    content = as_csv([("text", "smiles"), *GOOD, cells])
    return Case(name, "a.csv", _writer(content), pairs=5 + (not reason), rejected=int(bool(reason)), reason=reason)


def beside(name: str, column: str, values: list[str], reason: str = "") -> Case:
    """A column beside the good rows: all of them kept, or one rejected for a reason."""
    content = as_csv([(column, "text", "smiles"), *((value, *good) for value, good in zip(values, GOOD, strict=True))])
    return Case(name, "a.csv", _writer(content), pairs=5 - bool(reason), rejected=int(bool(reason)), reason=reason)


def as_csv(rows: Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def _writer(content: bytes | Callable[[], bytes]) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content if isinstance(content, bytes) else content())


def _parquet(file_options: dict[str, object] | None = None, **columns: object) -> Callable[[], bytes]:
    def make() -> bytes:
        import pyarrow
        import pyarrow.parquet

        made = {name: value() if callable(value) else value for name, value in columns.items()}
        buffer = io.BytesIO()
        pyarrow.parquet.write_table(pyarrow.table(made), buffer, **(file_options or {}))
        return buffer.getvalue()

    return make


def _arrow(kind: str, values: list[object]) -> Callable[[], object]:
    def make() -> object:
        import pyarrow

        kinds = {
            "far dates": pyarrow.date32(),
            "far times": pyarrow.timestamp("us"),
            "no such zone": pyarrow.timestamp("us", tz="Nowhere/Land"),
            "view": pyarrow.string_view(),
            "large": pyarrow.large_string(),
            "bytes": pyarrow.binary(),
        }
        array = pyarrow.array(values, kinds.get(kind))
        return array.dictionary_encode() if kind == "dictionary" else array

    return make


def _not_utf8() -> object:
    import pyarrow

    raw = [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe")]
    return pyarrow.Array.from_buffers(pyarrow.string(), 1, raw)


def _same_names() -> bytes:
    import pyarrow
    import pyarrow.parquet

    buffer = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table([["a"], ["b"], ["C"]], names=["text", "text", "smiles"]), buffer)
    return buffer.getvalue()


def _link(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(path if target == "itself" else target)


def _socket(path: Path) -> None:
    # a socket's address holds 108 bytes, which a test's folder may exceed
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def _many_splits() -> bytes:
    return as_csv([("text", "smiles", "split"), *(("words", "C" * (n + 1), f"part {n}") for n in range(60))])


TEXTS = [list(column) for column in zip(*GOOD, strict=True)]

ENCODINGS = [
    works("plain", "a.csv", TABLE),
    works("byte order mark", "a.csv", b"\xef\xbb\xbf" + TABLE),
    works("byte order mark in a cell", "a.csv", TABLE.replace(b"water", "\ufeffwater".encode())),
    refused("UTF-16 with a mark", "a.csv", TABLE.decode().encode("utf-16"), "UTF-16"),
    refused("UTF-16 big end first", "a.csv", TABLE.decode().encode("utf-16-be"), "NUL bytes"),
    refused("Latin-1", "a.csv", TABLE.replace(b"water", b"caf\xe9"), "byte 0xe9 on line 6"),
    refused("two encodings", "a.csv", TABLE + "thé,C\n".encode() + b"th\xe9,C\n", "byte 0xe9 on line 8"),
    refused("overlong slash", "a.csv", TABLE.replace(b"water", b"\xc0\xaf"), "not UTF-8"),
    refused("cut in a character", "a.csv", TABLE + b"caf\xc3", "not UTF-8"),
    refused("NUL", "a.csv", TABLE.replace(b"water", b"wa\0ter"), "NUL bytes"),
    refused("binary", "a.csv", bytes(range(256)) * 4, "NUL bytes"),
    refused("PDF", "a.csv", b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj\n", "not UTF-8"),
]
LINES = [
    works("CRLF", "a.csv", TABLE.replace(b"\n", b"\r\n")),
    works("lone CR", "a.csv", TABLE.replace(b"\n", b"\r")),
    works("mixed line ends", "a.csv", TABLE.replace(b"\n", b"\r\n", 3)),
    works("no last line end", "a.csv", TABLE[:-1]),
    works("blank lines", "a.csv", TABLE.replace(b"\n", b"\n\n")),
    works("line separators in a cell", "a.csv", TABLE.replace(b"water", "wa\u2028ter\x85".encode())),
    works("line ends in quotes", "a.csv", TABLE.replace(b"water", b"wa\nter\r\n")),
    works("doubled quotes", "a.csv", TABLE.replace(b"water", b'5""-water')),
    works("quotes in a bare cell", "a.csv", TABLE + b'5"-water,OO\n', 6),
    refused("open quote", "a.csv", TABLE + b'"open,C\nand,on\n', "line 7"),
    refused("text behind a quote", "a.csv", TABLE + b'"a"b,C\n', "line 7"),
    refused("2,500,000 blank lines", "a.csv", lambda: TABLE + b"\n" * 2_500_000, "at most 2,000,000 rows"),
]
SIZES = [
    works("cell of 10 MB", "a.csv", lambda: TABLE.replace(b"water", b"water " * 1_700_000)),
    refused("cell of 17 MiB", "a.csv", lambda: TABLE.replace(b"water", b"a" * (17 * MEBIBYTE)), "line 6"),
    refused(
        "row of 33 MiB",
        "a.csv",
        lambda: TABLE + b"abcdefg," * (33 * MEBIBYTE // 8),
        "line 7 cannot",
    ),
    refused("line of a million commas", "a.csv", TABLE[:12] + b"," * 1_000_000, "1 of 1 rows cannot be used"),
    refused("100,000 columns", "a.csv", lambda: ",".join(f"c{n}" for n in range(100_000)).encode(), "100,000 columns"),
    works("4,096 columns", "a.csv", lambda: b"text,smiles" + b"," * 4_094 + b"\n" + b"water,O" + b"," * 4_094, 1),
    works("one row", "a.csv", TABLE[:29], 1),
    works("identical rows", "a.csv", b"text,smiles\n" + b"water,O\n" * 50, 50),
]
COLUMNS = [
    works("one ragged row", "a.csv", TABLE + b"a,C,b\n", 5, 1),
    refused("only ragged rows", "a.csv", b"text,smiles\na\nb,C,c\n", "2 of 2 rows cannot be used"),
    refused("twice one name", "a.csv", b"text,smiles,text\na,C,b\n", "'text' occurs more than once"),
    refused("no texts", "a.csv", b"words,smiles\na,C\n", "no column is called text"),
    refused("no SMILES", "a.csv", b"text,molecule\na,C\n", "no column is called smiles"),
    refused("two for the texts", "a.csv", b"text,caption,smiles\na,b,C\n", "could each be the text"),
    refused("SMILES and smiles", "a.csv", b"text,SMILES,smiles\na,C,C\n", "could each be the smiles"),
    refused("semicolons", "a.csv", b"text;smiles\na;C\n", "no column is called text"),
    works("columns without names", "a.csv", b",text,smiles,\n1,water,O,2\n", 1),
    works("names that would act", "a.csv", as_csv([("text", "smiles", "<b>\x1b[2J\u202e=1+1"), ("water", "O", "")]), 1),
    refused("empty", "a.csv", b"", "is empty"),
    refused("only a header", "a.csv", b"text,smiles\n", "no data row"),
    refused("only a line end", "a.csv", b"\n", "no data row"),
    refused("only spaces", "a.csv", b"   \n  \n", "no column is called text"),
    refused("60 splits", "a.csv", _many_splits, "names 60 splits; at most 50"),
    refused("HTML", "a.csv", b"<!DOCTYPE html>\n<html><body>\n404\n</body></html>\n", "no column is called text"),
]
PLACES = [
    Case("folder", "a.csv", Path.mkdir, "is a folder"),
    Case("pipe", "a.csv", os.mkfifo, "not a regular file"),
    Case("socket", "a.csv", _socket, "not a regular file"),
    Case("link to itself", "a.csv", _link("itself"), "cannot be opened"),
    Case("endless device", "a.csv", _link("/dev/zero"), "not a regular file"),
    Case("not there", "a.csv", lambda path: None, "no such file"),
    Case("below a file", "a.csv/b.csv", lambda path: path.parent.write_bytes(TABLE), "cannot be opened"),
    refused("another kind", "a.xlsx", TABLE, "files of this kind"),
    refused("no kind", "a", TABLE, "files of this kind"),
    refused("zip archive", "a.csv", b"PK\x03\x04" + TABLE, "zip archive"),
    refused("gzip under another name", "a.csv", gzip.compress(TABLE), "gzip data"),
    refused("Parquet under another name", "a.csv", b"PAR1" + TABLE, "a Parquet file"),
]
ZIPPED = [
    works("gzip", "a.csv.gz", gzip.compress(TABLE)),
    works("gzip in parts", "a.csv.gz", gzip.compress(TABLE[:40]) + gzip.compress(TABLE[40:])),
    refused("cut gzip", "a.csv.gz", gzip.compress(TABLE * 50)[:-20], "gzip data is damaged"),
    refused("wrong checksum", "a.csv.gz", gzip.compress(TABLE)[:-8] + b"\0" * 8, "gzip data is damaged"),
    refused("gzip with a tail", "a.csv.gz", gzip.compress(TABLE) + b"tail", "gzip data is damaged"),
    refused("gzip of nothing", "a.csv.gz", gzip.compress(b""), "is empty"),
    refused("gzip twice", "a.csv.gz", gzip.compress(gzip.compress(TABLE)), "a.csv.gz"),
    refused("gzip of Latin-1", "a.csv.gz", gzip.compress(b"text,smiles\ncaf\xe9,C\n"), "byte 0xe9 on line 2"),
]
PARQUET = [
    works("Parquet", "a.parquet", _parquet(text=TEXTS[0], smiles=TEXTS[1])),
    works("lists beside", "a.parquet", _parquet(text=TEXTS[0], smiles=TEXTS[1], parts=[["x"], [], None, ["y"], []])),
    works("structs beside", "a.parquet", _parquet(text=TEXTS[0], smiles=TEXTS[1], parts=[{"a": 1}] * 5)),
    works("dictionary", "a.parquet", _parquet(text=_arrow("dictionary", TEXTS[0]), smiles=TEXTS[1])),
    works("string views", "a.parquet", _parquet(text=_arrow("view", TEXTS[0]), smiles=_arrow("large", TEXTS[1]))),
    works("far dates", "a.parquet", _parquet(text=["a"], smiles=["C"], when=_arrow("far dates", [2**30])), 1),
    works("far times", "a.parquet", _parquet(text=["a"], smiles=["C"], when=_arrow("far times", [2**62])), 1),
    works("no such zone", "a.parquet", _parquet(text=["a"], smiles=["C"], when=_arrow("no such zone", [1])), 1),
    works("NUL in Parquet", "a.parquet", _parquet(text=["a\0b"], smiles=["C"]), 1),
    works("missing values", "a.parquet", _parquet(text=[*TEXTS[0], None], smiles=[*TEXTS[1], "C"]), 5, 1),
    works("no text in a column of text", "a.parquet", _parquet(text=[*TEXTS[0], " "], smiles=[*TEXTS[1], "C"]), 5, 1),
    refused("texts in lists", "a.parquet", _parquet(text=[["a"]], smiles=["C"]), "no column is called text"),
    refused("texts as bytes", "a.parquet", _parquet(text=_arrow("bytes", [b"a"]), smiles=["C"]), "no column is called"),
    refused("texts as numbers", "a.parquet", _parquet(text=[1], smiles=["C"]), "text is of type int"),
    refused("no column of text", "a.parquet", _parquet(a=[1], b=[2.0]), "no column is called text"),
    refused("texts that are not UTF-8", "a.parquet", _parquet(text=_not_utf8, smiles=["C"]), "not a readable Parquet"),
    refused("no row", "a.parquet", _parquet(text=[], smiles=[]), "no data row"),
    refused("no column", "a.parquet", _parquet(), "no data row"),
    refused("twice one name in Parquet", "a.parquet", _same_names, "'text' occurs more than once"),
    refused("5,000 columns", "a.parquet", _parquet(**{f"c{n}": [1] for n in range(5_000)}), "5,000 columns"),
    refused("cut Parquet", "a.parquet", lambda: PARQUET_BYTES()[:-30], "not a readable Parquet"),
    refused("Parquet of nothing", "a.parquet", b"", "not a readable Parquet"),
    refused("Parquet cell of 17 MiB", "a.parquet", _parquet(text=["a" * (17 << 20)], smiles=["C"]), "at most 16,777"),
]
PARQUET_BYTES = _parquet(text=TEXTS[0], smiles=TEXTS[1])

MOLECULES = [
    row("wildcard", ("w", "*CC*")),
    row("disconnected", ("w", "[Na+].[Cl-].O")),
    row("5,000 atoms", ("w", "C" * 5_000)),
    row("isotopes", ("w", "[2H]C([3H])[13CH3]")),
    row("dative bond", ("w", "[NH3]->[Fe]")),
    row("any bond", ("w", "C~C")),
    row("radical", ("w", "C[CH]C")),
    row("octahedron", ("w", "C[Co@OH30](F)(Cl)(Br)(I)S")),
    row("hydrogen alone", ("w", "[H][H]")),
    row("10,000 atoms", ("w", "C" * 10_000), "at most 5,000"),
    row("valence", ("w", "C(C)(C)(C)(C)C"), "Explicit valence"),
    row("kekulization", ("w", "c1cccc1"), "kekulize"),
    row("999 hydrogens", ("w", "[CH999]"), "more than 9 hydrogens"),
    row("charge of 1,000", ("w", "[C+1000]"), "charge beyond 99"),
    row("element Xx", ("w", "[Xx]"), "RDKit"),
    row("query atom", ("w", "[C,N]"), "RDKit"),
    row("reaction", ("w", "CC>>CO"), "RDKit"),
    row("CXSMILES", ("w", "CCO |$a;b;c$|"), "a space"),
    row("SMILES with a name", ("w", "CCO ethanol"), "a space"),
    row("open ring", ("w", "C1CC"), "unclosed ring"),
    row("4,000 open branches", ("w", "C(" * 2_000), "RDKit"),
    row("only dots", ("w", "..."), "RDKit"),
    row("no SMILES in a cell", ("w", " "), "empty SMILES"),
    row("InChI", ("w", "InChI=1S/CH4/h1H4"), "RDKit"),
    row("a name", ("w", "benzene"), "RDKit"),
    row("full-width letters", ("w", "ＣＣ"), "outside ASCII"),
    row("control character in SMILES", ("w", "C\x1b[2JC"), "control character"),
    row("zero-width space in SMILES", ("w", "C\u200bC"), "outside ASCII"),
    row("shell in SMILES", ("w", "$(touch${IFS}x)"), "RDKit"),
]
WORDS = [
    row("control characters", ("\x01\x02\x07\x1b[2J\x7f", "CCCC")),
    row("right to left", ("\u202eacid\u2066 \u200f", "CCCC")),
    row("text of 1 MB", ("acid " * 200_000, "CCCC")),
    row("word of 1 MB", ("a" * MEBIBYTE, "CCCC")),
    row("formula", ("=cmd|' /C calc'!A0", "CCCC")),
    row("markup", ("<script>alert(1)</script>", "CCCC")),
    row("TeX", ("\\input{/etc/passwd} $\\frac{$ $x$", "CCCC")),
    row("no text in a cell", ("", "CCCC"), "empty text"),
    row("spaces for a text", (" \u00a0\u3000\t", "CCCC"), "empty text"),
    row("number for a text", ("12.5", "CCCC"), "is a number"),
    row("missing value for a text", ("NaN", "CCCC"), "is a number"),
    beside("id twice", "id", ["7", "7", "1", "2", "3"], "id '7' was already used in a.csv row 1"),
    beside("id of 10,000 characters", "id", ["1", "2", "3", "4" * 10_000, "5"], "id of 10,000 characters"),
    beside("split of 10,000 characters", "split", [*"aaa", "b" * 10_000, "a"], "split name of 10,000 characters"),
    beside("ids that are paths and commands", "id", ["../../x", "/etc/passwd", "`id`", "a;b|c", "-rf"]),
]
CASES = [*ENCODINGS, *LINES, *SIZES, *COLUMNS, *PLACES, *ZIPPED, *PARQUET, *MOLECULES, *WORDS]
