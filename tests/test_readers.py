"""Tables from strangers: each gives exactly the cells it holds or one clear error, in bounded time and memory."""

import ast
import bz2
import csv
import gzip
import io
import json
import lzma
import re
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem

import class_kit
from class_kit import cli
from class_kit.errors import InputError
from class_kit.pairs import table as limits
from class_kit.pairs.readers import read_table
from class_kit.pairs.table import MAX_CELL
from tests.faulty_places import python
from tests.pair_files import TABLE, parquet

PLAIN = b"text,smiles\nan alcohol,CCO\n"
PLAIN_CELLS = {"text": ["an alcohol"], "smiles": ["CCO"]}


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "columns"),
    [
        ("a.CSV", PLAIN, PLAIN_CELLS),
        ("gzip.csv", gzip.compress(PLAIN[:9], mtime=0) + gzip.compress(PLAIN[9:], mtime=0), PLAIN_CELLS),
        ("crlf.csv", PLAIN.replace(b"\n", b"\r\n"), PLAIN_CELLS),
        ("cr.csv", PLAIN.replace(b"\n", b"\r"), PLAIN_CELLS),
        ("a.txt", b"text\tsmiles\na, b\tC\n", {"text": ["a, b"], "smiles": ["C"]}),
        ("quoted.csv", b'text,smiles\n"a ""b"",\nc",C\n', {"text": ['a "b",\nc'], "smiles": ["C"]}),
        ("bare.csv", b'text,smiles\n5"-water,O\n', {"text": ['5"-water'], "smiles": ["O"]}),
        ("blank.csv", b"text,smiles\n\na,C\n\n", {"text": ["a"], "smiles": ["C"]}),
        ("names.csv", b", smiles\n7,C\n", {"column 1": ["7"], "smiles": ["C"]}),
        ("separator.csv", "text\na\u2028b\x85c\n".encode(), {"text": ["a\u2028b\x85c"]}),
        ("emoji.csv", "text,smiles\n🧪 \u202eacid,C\n".encode(), {"text": ["🧪 \u202eacid"], "smiles": ["C"]}),
        ("columns.csv", b"text" + b"," * 4_095 + b"\nwater" + b"," * 4_095, None),
        ("a.parquet", parquet({"text": ["a", None], "cid": [1.0, None]}), {"text": ["a", None], "cid": ["1", None]}),
        ("view.pq", parquet({"text": pyarrow.array(["a"], pyarrow.string_view())}), {"text": ["a"]}),
    ],
)
def test_cells_are_read_exactly(tmp_path: Path, name: str, content: bytes, columns: dict | None) -> None:
    table = read_table(written(tmp_path, name, content))
    if columns is not None:
        assert table.columns == columns
    assert not any(place.reason for place in table.places)
    assert (table.skipped, table.notes) == ({}, ())


REFUSED = [
    ("a.csv", TABLE.decode().encode("utf-16-le"), "NUL bytes: not a text file"),
    ("a.csv", "é".encode() * 600_000 + b"\n" + TABLE + b"th\xe9,C\n", "byte 0xe9 on line 8"),
    ("a.csv", TABLE.decode().encode("utf-16")[:-1], "truncated data"),
    ("a.csv", TABLE.replace(b"water", b"wa\0ter"), "NUL bytes"),
    ("a.csv", TABLE + b'"open,C\nand,on\n', "row that starts on line 7 cannot be read: unexpected end of data"),
    ("a.csv", TABLE + b'"a"b,C\n', "row that starts on line 7 cannot be read"),
    ("a.csv", b"text\n" + b"a" * (MAX_CELL + 1), "row that starts on line 2 cannot be read: field larger than"),
    ("a.csv", b"text,smiles\n" + b"a" * (33 << 20), "row that starts on line 2 cannot be read: field larger"),
    ("a.csv", ",".join(f"c{n}" for n in range(100_000)).encode(), "100,000 columns; at most 4,096"),
    ("a.csv", b"text,smiles,text\na,C,b\n", "'text' occurs more than once"),
    ("a.csv", b"", "is empty"),
    ("a.csv", b"text,smiles\n", "no data row"),
    ("a.doc", TABLE, "files of this kind are not read; expected CSV, TSV"),
    ("a.csv.gz", gzip.compress(TABLE * 50, mtime=0)[:-20], "ended before the end-of-stream marker"),
    ("a.csv.gz", gzip.compress(TABLE, mtime=0) + b"tail", "Not a gzipped file"),
    ("a.parquet", parquet()[:-30], "a.parquet cannot be read"),
    ("a.parquet", parquet({"text": pyarrow.array([], pyarrow.string())}), "no data row"),
    ("a.parquet", parquet({f"c{n}": [1] for n in range(5_000)}), "5,000 columns"),
]


@pytest.mark.parametrize(("name", "content", "words"), REFUSED, ids=[words[:30] for _, _, words in REFUSED])
def test_what_cannot_be_read_is_one_error(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    path = written(tmp_path, name, content)
    with pytest.raises(InputError) as failure:
        read_table(path)
    assert words in str(failure.value)
    assert str(path) in str(failure.value)
    assert len(str(failure.value)) < 500


def test_ragged_rows_are_kept_with_a_reason(tmp_path: Path) -> None:
    table = read_table(written(tmp_path, "a.csv", b'text,smiles\n"two\nlines",C\n\nshort\na,b,c\nlast,CC\n'))
    assert table.columns == {"text": ["two\nlines", None, None, "last"], "smiles": ["C", None, None, "CC"]}
    assert [(place.row, place.line) for place in table.places] == [(1, 2), (2, 5), (3, 6), (4, 7)]
    reasons = [place.reason for place in table.places]
    assert reasons == ["", "1 fields where the header has 2", "3 fields where the header has 2", ""]


def test_without_quoting_a_quote_is_a_character(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", b'a\tb\tc\n1\tC\t"never closed\n2\tCC\t5\'"-phosphate\n')
    assert list(read_table(path, quoting=False).columns.values())[2] == ['"never closed', "5'\"-phosphate"]


TAB = "id\tsmiles\ttext\n"
# a tab-separated file, the texts it holds, and those with quotes as cells
QUOTES = [
    ('1\tCCO\t"Smoky\n2\tCCN\tfishy\n3\tCCC\tends"\n4\tCCF\tx\n', ['"Smoky', "fishy", 'ends"', "x"]),
    ('1\tCCO\t"Smoky\n2\tCCN\tfishy\n3\tCCC\t"ends"\n', ['"Smoky', "fishy", '"ends"']),
    ('1\tCCO\t"Smoky"\n2\tCCN\t"so ""fishy"""\n', ["Smoky", 'so "fishy"']),
    ('1\tCCO\t5"-AMP\n2\tCCN\t"fishy" at first\n', ['5"-AMP', '"fishy" at first']),
    ('1\tCCO\t"two\nlines"\n2\tCCN\t"a\ttab"\n', ["two\nlines", "a\ttab"]),
    ('1\tCCO\t"two\nlines"\n2\tCCN\n3\tCC\tx\n', ['"two', None, None, "x"]),
    ('1\tCCO\t"Smoky\n2\tCCN\n3\tCCC\tends"\n4\tCCF\tx\n', ['"Smoky', None, 'ends"', "x"]),
]


@pytest.mark.parametrize(("rows", "texts"), QUOTES, ids=range(len(QUOTES)))
def test_quotes_in_a_tab_file_lose_no_row(tmp_path: Path, rows: str, texts: list) -> None:
    path = written(tmp_path, "a.tsv", (TAB + rows).encode())
    table = read_table(path)
    assert table.columns["text"] == texts
    pairs = class_kit.load_pairs(path, max_rejected=1.0)
    assert len(pairs) + len(pairs.rejected) == len(texts)
    spanning = any("\n" in (text or "") for text in texts)
    assert spanning == any("hold tabs or line ends" in note and "--no-quoting" in note for note in pairs.notes)
    # the lines are the rows of the file where no quote encloses a line end
    literal = read_table(path, quoting=False)
    assert len(literal.places) == rows.count("\n")
    assert spanning or literal.places == table.places


def test_quotes_are_cells_where_the_user_says_so(tmp_path: Path) -> None:
    path = written(tmp_path, "a.tsv", (TAB + QUOTES[0][0]).encode())
    assert read_table(path, quoting=True).columns["text"] == ["Smoky\n2\tCCN\tfishy\n3\tCCC\tends", "x"]
    path = written(tmp_path, "a.csv", b'smiles,text\nC,"a\nCC,b"\n')
    assert read_table(path, quoting=False).columns["text"] == ['"a', 'b"']


def test_columns_of_parquet_without_text_are_named(tmp_path: Path) -> None:
    not_utf8 = [None, pyarrow.py_buffer(b"\0\0\0\0\2\0\0\0"), pyarrow.py_buffer(b"\xff\xfe")]
    columns = {
        "text": ["a"],
        "when": pyarrow.array([2**62], pyarrow.timestamp("us")),
        "where": pyarrow.array([1], pyarrow.timestamp("us", tz="Nowhere/Land")),
        "parts": [["x"]],
        "a.b": ["c"],
        "a": [{"b": 1}],
        "odd": pyarrow.Array.from_buffers(pyarrow.string(), 1, not_utf8),
    }
    table = read_table(written(tmp_path, "a.parquet", parquet(columns)))
    assert set(table.skipped) == {"parts", "a", "where", "odd"}
    assert table.columns["text"] == ["a"]
    assert table.places == [("a.parquet", 1, None, "")]


# The csv writer quotes neither a lone carriage return nor (in a one-column row) white space in every release.
CELLS = st.text(st.characters(exclude_characters="\0\r", codec="utf-8"), max_size=20)


@settings(deadline=None, max_examples=100)
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=8))
def test_what_the_csv_writer_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL).writerows([("text", "smiles", "more"), *rows])
    path = written(tmp_path_factory.getbasetemp(), "written.csv", buffer.getvalue().encode())
    assert list(zip(*read_table(path).columns.values(), strict=True)) == rows


@pytest.mark.parametrize(
    ("limit", "value", "words"),
    [("MAX_BYTES", 10, "more than 10 bytes"), ("MAX_CELLS", 9, "9 values are read"), ("MAX_ROWS", 4, "at most 4 rows")],
)
def test_limits(limit: str, value: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (written(tmp_path, "a.csv", TABLE), written(tmp_path, "a.parquet", parquet())):
        read_table(path)
        with monkeypatch.context() as patch:
            patch.setattr(limits, limit, value)
            with pytest.raises(InputError, match=words):
                read_table(path)


# Small files that unfold to far more than may be read, by limits an eighth of the real ones. They are read by another
# process, whose memory is measured and limited.
BOMBS = """
import gzip, json, lzma, resource
from pathlib import Path
from typing import Any
import pyarrow, pyarrow.feather, pyarrow.parquet
from class_kit.errors import InputError
from class_kit.pairs import load_pairs, table

table.MAX_ROWS, table.MAX_BYTES = 200_000, 128 << 20

def zipped(block, times):
    # members of a gzip file follow each other, so that one block is compressed once
    return gzip.compress(b"text,smiles\\n") + gzip.compress(block * ((16 << 20) // len(block))) * times

Path("line.csv.gz").write_bytes(zipped(b"a", 32))
Path("rows.csv.gz").write_bytes(zipped(b"a,C\\n", 32))
big = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 400, pyarrow.int32()), pyarrow.array(["x" * 1_000_000]))
nested = pyarrow.ListArray.from_arrays([0, 4_000_000], pyarrow.nulls(4_000_000, pyarrow.int8()))
tables = {
    "value": {"text": ["a"] * 400, "smiles": ["C"] * 400, "more": big},
    "rows": {"text": pyarrow.nulls(1_000_000, pyarrow.string())},
    "list": {"text": ["a"], "smiles": ["C"], "more": nested},
}
for name, columns in tables.items():
    pyarrow.parquet.write_table(pyarrow.table(columns), f"{name}.parquet", compression="zstd")
for name, opened in {"line.csv.xz": lzma.open("line.csv.xz", "wb", preset=0),
                     "line.csv.zst": pyarrow.output_stream("line.csv.zst", compression="zstd")}.items():
    with opened as file:
        file.write(b"text,smiles\\n")
        for _ in range(3):
            file.write(b"a" * (16 << 20))
Path("list.json.gz").write_bytes(gzip.compress(b"[") + gzip.compress(b"[]," * (1 << 20)) * 30)
column = pyarrow.repeat(pyarrow.scalar("x" * 1_000_000), 140)
with pyarrow.ipc.new_file("value.feather", pyarrow.schema({"text": pyarrow.string()}),
                          options=pyarrow.ipc.IpcWriteOptions(compression="zstd")) as writer:
    writer.write(pyarrow.record_batch({"text": column}))
del column
pyarrow.default_memory_pool().release_unused()
resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
found = {}
for path in sorted(Path().iterdir()):
    assert path.stat().st_size < 8 << 20
    try:
        found[path.name] = f"{len(load_pairs(path))} pairs"
    except InputError as error:
        found[path.name] = str(error)
status = Path("/proc/self/status").read_text().splitlines()
print(json.dumps([found, next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))]))
"""
UNFOLDED = {
    "line.csv.xz": "field larger than field limit",
    "line.csv.zst": "field larger than field limit",
    "list.json.gz": "at most 67,108,864 are read",
    "value.feather": "more than 134,217,728 bytes",
    "line.csv.gz": "more than 134,217,728 bytes",
    "list.parquet": "1 pairs",
    "rows.csv.gz": "more than 134,217,728 bytes",
    "rows.parquet": "at most 200,000 rows",
    "value.parquet": "400 pairs",
}


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="memory is measured by /proc")
def test_bombs_are_stopped_in_bounded_memory(tmp_path: Path) -> None:
    done = python("-c", BOMBS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2_000:]
    found, peak = json.loads(done.stdout)
    assert {name: UNFOLDED[name] in words for name, words in found.items()} == dict.fromkeys(UNFOLDED, True), found
    assert peak < 700 << 10


FAULTY = {
    "words.csv": b"smiles,words\nC,a\n",
    "molecules.csv": b"molecule,text\nC,a\n",
    "two.csv": b"smiles,text,caption\nC,a,b\n",
    "splits.csv": b"smiles,text,split,Split\nC,a,train,train\n",
    "many.csv": b"smiles,text,split\n" + b"".join(b"%s,a,s%d\n" % (b"C" * n, n) for n in range(1, 60)),
    "bad.csv": b"smiles,text\nnothing,a\n",
}
TAKE_PAIRS = [["check"], ["difficulty"], ["train"], ["run", "retrieval", "--pairs"], ["study", "paper", "--pairs"]]


@pytest.mark.parametrize("command", TAKE_PAIRS, ids=lambda command: command[0])
def test_a_command_names_only_options_that_it_has(command: list[str], here: Path, monkeypatch, kit) -> None:
    monkeypatch.setattr("class_kit.runs.kernels.execute", lambda *ignored: pytest.fail("a kernel was started"))
    (parsers,) = [action.choices for action in cli.build_parser()._actions if isinstance(action.choices, dict)]
    options = {word for action in parsers[command[0]]._actions for word in action.option_strings}
    assert {"--text", "--smiles", "--id", "--split", "--split-column"} <= options
    for name, content in FAULTY.items():
        if command[0] == "run" and name in ("many.csv", "bad.csv"):
            continue
        written(here, name, content)
        said = kit(*command, name, code=2)
        assert set(re.findall(r"--[a-z-]+", said)) <= options, said
        assert name in said
        assert ("--" in said) == (name != "bad.csv"), said


def test_every_option_in_a_message_exists() -> None:
    (parsers,) = [action.choices for action in cli.build_parser()._actions if isinstance(action.choices, dict)]
    options = {word for parser in parsers.values() for action in parser._actions for word in action.option_strings}
    root = Path(class_kit.__file__).parent
    texts = [
        node.value
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    named = {word for text in texts for word in re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text)}
    git = {"--always", "--dirty", "--abbrev", "--exclude"}
    assert named - options <= {"--version", *git}


# --- one table of shapes, each with the same 60 pairs

ALKYL = [f"{'C' * (at % 12 + 1)}{end}" for at in range(12) for end in ("O", "N", "C(=O)O", "[C@H](F)Cl", "c1ccccc1")]
SIXTY = [(smiles, f'number {at}: "a chain", é, {len(smiles)} signs; or so') for at, smiles in enumerate(ALKYL)]


def delimited(rows: list, names: tuple[str, ...] = ("smiles", "text"), **options: Any) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n", **options).writerows([*([names] if names else []), *rows])
    return buffer.getvalue()


def chembl() -> str:
    """A semicolon between cells, all of them quoted, and the names that ChEMBL gives its columns."""
    rows = [(f"CHEMBL{at}", text, "1", smiles) for at, (smiles, text) in enumerate(SIXTY)]
    return delimited(rows, ("ChEMBL ID", "Name", "Max Phase", "Smiles"), delimiter=";", quoting=csv.QUOTE_ALL)


def pubchem() -> str:
    names = ("cid", "cmpdname", "isosmiles", "canonicalsmiles", "inchi", "Description")
    rows = [
        (at, "x", smiles, Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False), "InChI=1S/C", text)
        for at, (smiles, text) in enumerate(SIXTY)
    ]
    return delimited(rows, names)


def chebi() -> str:
    rows = [(f"CHEBI:{at}", text.replace('"', "'"), smiles) for at, (smiles, text) in enumerate(SIXTY)]
    return delimited(rows, ("CHEBI_ACCESSION", "DEFINITION", "STRUCTURE"), delimiter="\t", quoting=csv.QUOTE_NONE)


def drugbank() -> str:
    rows = [{"drugbank-id": at, "description": text, "SMILES": smiles} for at, (smiles, text) in enumerate(SIXTY)]
    return json.dumps(rows, indent=1)


def inchis() -> str:
    return delimited([(Chem.MolToInchi(Chem.MolFromSmiles(smiles)), text) for smiles, text in SIXTY], ("InChI", "text"))


def sdf() -> str:
    records = []
    for smiles, text in SIXTY:
        records.append(f"{Chem.MolToMolBlock(Chem.MolFromSmiles(smiles))}> <ID>\nx\n\n> <Definition>\n{text}\n\n$$$$\n")
    return "".join(records)


LINES = "".join(json.dumps({"SMILES": smiles, "Summary": text}) + "\n" for smiles, text in SIXTY)
TABS = delimited(SIXTY, delimiter="\t", quoting=csv.QUOTE_NONE, quotechar=None)
COLUMNS = {"smiles": [smiles for smiles, _ in SIXTY], "text": [text for _, text in SIXTY]}
FILES: dict[str, Any] = {
    "comma.csv": lambda: delimited(SIXTY),
    "semicolon.csv": lambda: delimited(SIXTY, delimiter=";"),
    "bar.txt": lambda: delimited(SIXTY, delimiter="|"),
    "tab.csv": lambda: delimited(SIXTY, delimiter="\t"),
    "literal.tsv": lambda: TABS,
    "bom.csv": lambda: b"\xef\xbb\xbf" + delimited(SIXTY).encode(),
    "utf16.csv": lambda: delimited(SIXTY).encode("utf-16"),
    "utf16.txt": lambda: TABS.encode("utf-16-be").join([b"\xfe\xff", b""]),
    "latin1.csv": lambda: delimited(SIXTY).encode("latin-1"),
    "a.csv.gz": lambda: gzip.compress(delimited(SIXTY).encode()),
    "a.tsv.bz2": lambda: bz2.compress(TABS.encode()),
    "a.csv.xz": lambda: lzma.compress(delimited(SIXTY).encode()),
    "a.csv.zst": lambda: pyarrow.compress(delimited(SIXTY).encode(), codec="zstd", asbytes=True),
    "lines.jsonl": lambda: LINES,
    "lines.json.gz": lambda: gzip.compress(LINES.encode()),
    "records.json": lambda: json.dumps([{"structure": smiles, "caption": text} for smiles, text in SIXTY]),
    "cxsmiles.csv": lambda: delimited([(f"{smiles} |$;;$,c:1|", text) for smiles, text in SIXTY]),
    "headless.csv": lambda: delimited([(at, smiles, text) for at, (smiles, text) in enumerate(SIXTY)], ()),
    "headless.tsv": lambda: TABS.partition("\n")[2],
    "a.smi": lambda: "".join(f"{smiles} {text}\n" for smiles, text in SIXTY),
    "header.smi": lambda: "smiles\tname\n" + "".join(f"{smiles} |$_AV:$|\t{text}\n" for smiles, text in SIXTY),
    "a.sdf": sdf,
    "a.sdf.gz": lambda: gzip.compress(sdf().encode()),
    "a.parquet": lambda: parquet(COLUMNS),
    "chembl.csv": chembl,
    "pubchem.csv": pubchem,
    "chebi.tsv": chebi,
    "drugbank.json": drugbank,
    "inchi.csv": inchis,
}
OPTIONS = {"chembl.csv": {"text": "Name"}}


def same_pairs(pairs: Any) -> None:
    wanted = [(Chem.CanonSmiles(smiles), text.replace('"', "'")) for smiles, text in SIXTY]
    assert [(Chem.CanonSmiles(s), t.replace('"', "'")) for s, t in zip(pairs.smiles, pairs.text, strict=True)] == wanted
    assert pairs.rejected == ()
    assert "60 rows, 60 kept" in pairs.notes[0]


@pytest.mark.parametrize("name", FILES)
def test_every_shape_of_file_gives_the_same_pairs(tmp_path: Path, name: str) -> None:
    content = FILES[name]()
    path = written(tmp_path, name, content.encode() if isinstance(content, str) else content)
    pairs = class_kit.load_pairs(path, **OPTIONS.get(name, {}))
    same_pairs(pairs)
    said = " ".join(pairs.notes)
    told = {
        "latin1": "read as Latin-1",
        "headless": "no header",
        "inchi": "converted to SMILES: 60",
        "cx": "cut off: 60",
    }
    assert all(words in said for start, words in told.items() if name.startswith(start))


def test_every_object_gives_the_same_pairs(tmp_path: Path) -> None:
    import pandas
    from pyarrow import feather

    table, frame = pyarrow.table(COLUMNS), pandas.DataFrame(COLUMNS, index=range(9, 69))
    feather.write_feather(table, tmp_path / "a.feather", compression="zstd")
    sources = [table, frame, frame.astype("category"), COLUMNS, SIXTY, [*map(list, SIXTY)], frame.to_dict("records")]
    for source in [*sources, tmp_path / "a.feather"]:
        same_pairs(class_kit.load_pairs(source))


def test_data_sets_and_saved_folders_keep_their_splits(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the extra trainers is not installed")
    whole = datasets.Dataset.from_dict(COLUMNS)
    parts = datasets.DatasetDict({"train": whole.select(range(40)), "test": whole.select(range(40, 60))})
    whole.save_to_disk(tmp_path / "whole")
    parts.save_to_disk(tmp_path / "parts")
    for source in (whole, tmp_path / "whole", parts, tmp_path / "parts"):
        pairs = class_kit.load_pairs(source)
        same_pairs(pairs)
        if source in (parts, tmp_path / "parts"):
            assert pairs.split == ("train",) * 40 + ("test",) * 20
    same_pairs(class_kit.load_pairs(whole.select([*range(59, -1, -1)]).select([*range(59, -1, -1)])))


@pytest.mark.parametrize(
    ("library", "make"),
    [
        ("polars", lambda module, folder: module.DataFrame(COLUMNS)),
        ("openpyxl", lambda module, folder: excel(module, folder / "a.xlsx")),
    ],
)
def test_what_needs_another_library_gives_the_same_pairs(library: str, make: Any, tmp_path: Path) -> None:
    same_pairs(class_kit.load_pairs(make(pytest.importorskip(library, reason=f"{library} is not installed"), tmp_path)))


def excel(module: Any, path: Path) -> Path:
    book = module.Workbook()
    for row in [("smiles", "text"), *SIXTY]:
        book.active.append(row)
    book.save(path)
    return path
