"""Loading pairs: each row is kept or listed with its place and reason, and every split is accounted for."""

import csv
import hashlib
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit import files
from class_kit.errors import InputError
from class_kit.molecules.structures import Structure, scaffold, structure
from class_kit.pairs import PairSet, content_digest, load_pairs, pool_targets
from class_kit.pairs.splits import group_split, make_splits, overlap_notes, split_name, split_order
from tests.pair_files import ROWS, alkane, table


def test_what_stands_under_a_molecule_is_its_name_where_the_table_has_one() -> None:
    table = {"text": ["one", "two"], "smiles": ["CCO", "CC"], "id": ["a", "b"], "split": ["train"] * 2}
    assert load_pairs(table).label == ("a", "b")
    assert load_pairs(table | {"Name": ["ethanol", ""]}).label == ("ethanol", "b")


def test_a_file_in_the_corpus_layout(tmp_path):
    pairs = load_pairs(table(tmp_path, ROWS))
    assert pairs.id == ("a1", "a2", "a3", "a4")
    assert pairs.smiles == ("CCO", "CC(=O)O", "c1ccccc1", "CCN")
    assert pairs.text[1] == "an acid, short"
    assert pairs.split == ("train", "train", "validation", "test")
    assert pairs.extra == {"class": ("alcohol", "acid", "arene", "amine")}
    assert (pairs.source, pairs.rejected) == ("pairs.csv", ())
    assert "2 train, 1 validation, 1 test" in repr(pairs)
    one = load_pairs(tmp_path / "pairs.csv", split="val")
    assert (one.id, one.extra) == (("a3",), {"class": ("arene",)})
    with pytest.raises(InputError, match=r"split='holdout': pairs\.csv has train, validation, test"):
        load_pairs(tmp_path / "pairs.csv", split="holdout")


@pytest.mark.parametrize("header", ["CID,SMILES,Text", "cid,canonical_smiles,CAPTION", "Id,Smiles,Description"])
def test_common_column_names_are_found_in_any_case(tmp_path, header):
    pairs = load_pairs(table(tmp_path, ["7,CCO,an alcohol"], header=header))
    assert (pairs.id, pairs.smiles, pairs.text) == (("7",), ("CCO",), ("an alcohol",))


def test_named_columns_win_over_common_names(tmp_path):
    path = table(tmp_path, ["x,CCO,CC,one,two"], header="name,smiles,parent,text,words")
    pairs = load_pairs(path, text="words", smiles="parent", id="name")
    assert (pairs.id, pairs.smiles, pairs.text) == (("x",), ("CC",), ("two",))
    assert pairs.extra == {"smiles": ("CCO",), "text": ("one",)}
    assert list(pairs.to_frame().columns) == ["id", "text", "smiles", "split", "smiles (file)", "text (file)"]


@pytest.mark.parametrize(
    ("header", "options", "words"),
    [
        ("id,smiles,words", {}, "'id', 'smiles', 'words'; name the one to use with text= (--text)"),
        ("id,molecule,text", {}, "no column is called smiles, isosmiles, isomericsmiles, canonicalsmiles"),
        (
            "id,smiles,text",
            {"text": "words"},
            "no column 'words', named by text= (--text); its columns are 'id', 'smiles'",
        ),
        ("id,smiles,text", {"split_column": "fold"}, "no column 'fold', named by split_column= (--split-column)"),
        ("smiles,text,caption", {}, "'text' and 'caption' could each be the text"),
        ("SMILES,smiles,text", {}, "'SMILES' and 'smiles' could each be the smiles"),
    ],
)
def test_a_column_that_is_not_there_names_those_that_are(tmp_path, header, options, words):
    path = table(tmp_path, ["1,C,a"], header=header)
    with pytest.raises(InputError) as failure:
        load_pairs(path, **options)
    assert words in str(failure.value)


def test_rejected_rows_are_listed_with_place_and_reason(tmp_path):
    rows = {
        "1,CCO,an alcohol": "",
        "1,CCN,an amine": "id '1' was already used in pairs.csv row 1",
        "2,C(,broken": "RDKit: syntax error at position 2",
        "3,CC,": "empty text",
        "4,CC,nan": "text is a number (nan), not a description",
        "4a,CC, n/A ": "text is a placeholder (n/A), not a description",
        "5,,no structure": "empty SMILES",
        ",CC,no id": "empty id",
        f"{'6' * 201},CC,long": "id of 201 characters; at most 200 are read",
        "6,CC": "2 fields where the header has 3",
        '7,CCC,"two\nlines"': "",
        "8,CC(C)(C)(C)C,five bonds": "RDKit: Explicit valence for atom # 1 C, 5, is greater than permitted",
    }
    pairs = load_pairs(table(tmp_path, rows, header="id,smiles,text"), id="id", max_rejected=0.9)
    assert pairs.id == ("1", "7")
    assert [bad.reason for bad in pairs.rejected] == [reason for reason in rows.values() if reason]
    assert [(bad.row, bad.line) for bad in pairs.rejected] == [*((row, row + 1) for row in range(2, 11)), (12, 14)]
    assert str(pairs.rejected[1]) == "pairs.csv row 3 (line 4): RDKit: syntax error at position 2"
    assert "10 rows rejected" in pairs.notes


def test_parquet_values_that_are_no_text(tmp_path):
    import pandas

    frame = pandas.DataFrame(
        {
            "id": [1.0, 2.0, None, 4.0],
            "smiles": ["C", "CC", "CCC", None],
            "text": ["a", None, "c", "d"],
            "n": [1, 2, 3, 4],
        }
    )
    frame.to_parquet(tmp_path / "a.parquet")
    pairs = load_pairs(tmp_path / "a.parquet", id="id", max_rejected=0.9)
    assert pairs.id == ("1",)
    assert pairs.extra == {"n": ("1",)}
    assert [bad.reason for bad in pairs.rejected] == ["empty text", "empty id", "empty SMILES"]
    frame.assign(text=[1, 2, 3, 4]).to_parquet(tmp_path / "numbers.parquet")
    with pytest.raises(InputError, match=r"text is a number \(1\)"):
        load_pairs(tmp_path / "numbers.parquet")
    frame.assign(text=[["a"]] * 4).to_parquet(tmp_path / "lists.parquet")
    for name in (None, "text"):
        with pytest.raises(InputError, match="'text' holds list"):
            load_pairs(tmp_path / "lists.parquet", text=name)


def test_a_column_of_lists_beside_the_texts_is_named(tmp_path):
    import pandas

    frame = pandas.DataFrame({"description": [["a"], ["b"]], "smiles": ["C", "CC"], "caption": ["one", "two"]})
    for source in (frame, tmp_path / "a.parquet"):
        frame.to_parquet(tmp_path / "a.parquet")
        assert any("'description' holds list" in note for note in load_pairs(source).notes)


@pytest.mark.parametrize(
    "text", ["NA", "none", "Null", "<NA>", r"\N", "N/A", "-", "nan", "NaN", "-inf", " null ", "\tn/a", "None\n"]
)
def test_placeholders_are_no_texts(text):
    pairs = load_pairs({"smiles": ["CCO", "CC"], "text": ["an alcohol, none of the acids", text]}, max_rejected=1.0)
    assert len(pairs) == len(pairs.rejected) == 1
    assert pairs.rejected[0].row == 2


def test_ids_that_are_found_are_labels_and_ids_that_are_named_a_promise(tmp_path):
    rows = ["7,CCO,a", "7,CC,b", "7 (2),CCC,c", ",C,d", f"{'x' * 500},CN,e", "7,CCCC,f"]
    path = table(tmp_path, rows, header="cid,smiles,text")
    pairs = load_pairs(path)
    assert pairs.id == ("7", "7 (2)", "7 (2) (2)", "row 4", "row 5", "7 (3)")
    assert "column 'cid' repeats or has gaps: 5 of its ids were made unique" in pairs.notes
    named = load_pairs(path, id="cid", max_rejected=1.0)
    assert (named.id, len(named.rejected)) == (("7", "7 (2)"), 4)
    both = load_pairs({"CID": ["1", "1"], "ID": ["b", "a"], "smiles": ["C", "CC"], "text": ["one", "two"]})
    assert both.id == ("b", "a")


def test_molecules_are_standardized_on_request():
    from rdkit import Chem
    from rdkit.Chem.MolStandardize import rdMolStandardize

    given = ["CCO", "[Na+].CC(=O)[O-]", "C[NH3+].[Cl-]", "CC(O)=CC(C)=O", "OCC", "C("]
    source = {"smiles": given, "text": [f"number {at}" for at in range(6)]}
    pairs = load_pairs(source, standardize=True)
    enumerator = rdMolStandardize.TautomerEnumerator()
    wanted = [enumerator.Canonicalize(rdMolStandardize.ChargeParent(Chem.MolFromSmiles(each))) for each in given[:5]]
    assert [Chem.CanonSmiles(each) for each in pairs.smiles] == [Chem.MolToSmiles(each) for each in wanted]
    assert pairs.extra["smiles as given"] == tuple(given[:5])
    assert pairs.smiles[4] == "OCC", "what no step changes keeps its spelling"
    assert "standardize=True changed 3 molecules" in pairs.notes
    assert pairs.standardized() == [(str(at + 1), given[at], pairs.smiles[at]) for at in (1, 2, 3)]
    one = load_pairs({"smiles": given[:2], "text": ["a", "b"]}, standardize=True)
    assert "standardize=True changed 1 molecule" in one.notes
    assert load_pairs(source).smiles == tuple(given[:5])
    assert load_pairs(source).standardized() == []


def test_too_many_bad_rows_stop_with_the_first_reasons(tmp_path):
    good = [f"{n},{alkane(n)},text {n}" for n in range(8)]
    bad = ["x1,C(,open", "x2,CC,"]
    path = table(tmp_path, [*good, *bad], header="id,smiles,text")
    assert len(load_pairs(path)) == 8, "exactly a fifth is still allowed"
    with pytest.raises(InputError) as failure:
        load_pairs(path, max_rejected=0.19, rejected_to=tmp_path / "out" / "rejected.csv")
    assert "2 of 10 rows cannot be used, more than the 19% allowed: pairs.csv row 9 (line 10)" in str(failure.value)
    assert len((tmp_path / "out" / "rejected.csv").read_text(encoding="utf-8").splitlines()) == 3
    with pytest.raises(InputError, match="1 of 1 rows"):
        load_pairs(table(tmp_path, ["x,C(,a"], header="id,smiles,text"), max_rejected=1.0)
    with pytest.raises(InputError, match="max_rejected=2"):
        load_pairs(path, max_rejected=2)


def test_rejected_file_is_inert_in_a_spreadsheet_and_never_stale(tmp_path):
    rows = ['=1+1,C(,"=HYPERLINK(""x"")"', "+2,C(,@SUM(A1)", "-3,C(, =cmd", "4,CC,fine"]
    path, target = table(tmp_path, rows, header="id,smiles,text"), tmp_path / "rejected.csv"
    load_pairs(path, max_rejected=1.0, rejected_to=target)
    cells = list(csv.reader(target.read_text(encoding="utf-8").splitlines()))
    assert cells[0] == ["file", "row", "line", "reason", "id", "smiles", "text"]
    assert len(cells) == 4
    assert not any(cell.lstrip().startswith(("=", "+", "-", "@")) for row in cells for cell in row)
    assert cells[1][4] == "'=1+1"
    load_pairs(table(tmp_path, ["4,CC,fine"], header="id,smiles,text"), rejected_to=target)
    assert target.read_text(encoding="utf-8").splitlines() == ["file,row,line,reason,id,smiles,text"]


def test_a_file_without_split_column_is_split_at_random_and_says_so(tmp_path):
    path = table(tmp_path, [f"{alkane(n)},text {n}" for n in range(50)], header="smiles,text")
    pairs = load_pairs(path)
    assert Counter(pairs.split) == {"train": 40, "validation": 5, "test": 5}
    assert pairs.id[:2] == ("1", "2")
    assert any("random molecules, 80/10/10, seed 0" in note for note in pairs.notes)
    assert "no id column: the ids are row numbers" in pairs.notes
    assert load_pairs(path, seed=1).split != pairs.split
    assert load_pairs(path).digest == pairs.digest


def test_make_split_overrides_the_column_and_says_so(tmp_path):
    rows = [f"{n},{alkane(n)},text {n},train" for n in range(20)]
    path = table(tmp_path, rows, header="id,smiles,text,split")
    assert set(load_pairs(path).split) == {"train"}
    pairs = load_pairs(path, make_split="random")
    assert Counter(pairs.split) == {"train": 16, "validation": 2, "test": 2}
    assert "column 'split' ignored because of make_split='random'" in pairs.notes
    assert set(load_pairs(path, make_split="scaffold").split) == {"train"}, "without rings there is one scaffold"
    with pytest.raises(InputError, match="make_split='time': expected one of random, scaffold"):
        load_pairs(path, make_split="time")


def test_given_splits_are_kept_and_their_overlap_is_counted(tmp_path):
    rows = ["1,C[C@H](N)O,a text,train", "2,C[C@@H](N)O,a text,Val", "3,CC,other,fold x", "4,CCC,words,"]
    pairs = load_pairs(table(tmp_path, rows, header="id,smiles,text,split"), max_rejected=0.5)
    assert pairs.split == ("train", "validation", "fold x")
    assert any(note.startswith("train/validation share 1 stereo-free structure ") for note in pairs.notes)
    assert pairs.rejected[0].reason == "empty split name"
    many = [f"{alkane(n)},words,part {n}" for n in range(60)]
    with pytest.raises(InputError, match="names 60 splits; at most 50"):
        load_pairs(table(tmp_path, many, header="smiles,text,split"))


def test_options_that_do_not_apply_are_refused(tmp_path):
    path = table(tmp_path, ROWS)
    with pytest.raises(InputError, match="extra: these options"):
        load_pairs(path, extra=path)
    with pytest.raises(InputError, match="swap: these options"):
        load_pairs(path, swap=True)
    with pytest.raises(InputError, match="text, make_split: these options apply to files"):
        load_pairs("chebi20", text="a", make_split="random")


CELLS = st.sampled_from(["", "C", "CC", "C(", "x", "7", "nan", "=1", " ", "a b", "\u202e", "C\\C", "é"])


@settings(deadline=None, max_examples=60)
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=5), min_size=1, max_size=12))
def test_every_row_is_kept_or_listed(tmp_path_factory, rows):
    path = tmp_path_factory.getbasetemp() / "conserved.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file, quoting=csv.QUOTE_ALL).writerows([["id", "smiles", "text"], *rows, ["last", "CCO", "fine"]])
    pairs = load_pairs(path, max_rejected=1.0)
    places = [bad.row for bad in pairs.rejected]
    assert len(pairs) + len(places) == len(rows) + 1
    assert places == sorted(set(places))
    assert all(bad.reason for bad in pairs.rejected)


def test_the_bundled_corpus_is_read_whole_and_missed_clearly(tmp_path, monkeypatch):
    pairs = load_pairs("corpus")
    assert (pairs.source, len(pairs), pairs.rejected) == ("corpus", 4400, ())
    assert pairs.notes[0].startswith("generated descriptions")
    assert set(pairs.extra) == {"class"}
    assert all("share 0 stereo-free structures" in note for note in pairs.notes if "stereo-free" in note)
    monkeypatch.setattr(files, "PACKAGE", tmp_path)
    monkeypatch.setattr(files, "CHECKOUT", tmp_path)
    with pytest.raises(InputError, match="corpus is missing"):
        load_pairs("corpus")


# --- the set of pairs


def small():
    return PairSet(("a", "b", "c"), ("C", "CC", "CCC"), ("1", "2", "3"), ("train", "test", "train"), "made")


def awkward() -> PairSet:
    text = ('a, "quoted"', "=SUM(1)\n-two lines", "<b>é</b>", "NAD+ \t tab")
    smiles, names = ("C", "CC(=O)O", "[Na+].[Cl-]", "CCCC"), ("007", "x&y", "3", "4")
    split = ("train", "test", "train", "validation")
    return PairSet(text, smiles, names, split, "made", extra={"name": ("p", "q", "r", "s")})


def test_pairs_go_out_as_csv_and_as_a_data_set_and_come_back(tmp_path):
    pairs = awkward()
    pairs.to_csv(tmp_path / "pairs.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["pairs.csv"]
    data = pairs.to_dataset()
    assert {name: len(part) for name, part in data.items()} == {"train": 2, "validation": 1, "test": 1}
    # a cell of the file is inert, and blanks count once wherever pairs are read
    for back, kept in ((load_pairs(tmp_path / "pairs.csv"), files.inert), (load_pairs(data), str)):
        rows = {name: (smiles, text.split(), split) for name, smiles, text, split in columns(back)}
        assert rows == {name: (smiles, kept(text).split(), split) for name, smiles, text, split in columns(pairs)}
        assert sorted(back.extra["name"]) == ["p", "q", "r", "s"]
    assert "x&y,\"'=SUM(1)\n" in (tmp_path / "pairs.csv").read_text(encoding="utf-8")


def columns(pairs):
    return zip(pairs.id, pairs.smiles, pairs.text, pairs.split, strict=True)


def test_a_notebook_shows_the_first_pairs_drawn_and_obeys_none():
    shown = awkward()._repr_html_()
    assert shown.count("<img ") == shown.count("data:image/png;base64,") == 4
    assert "&lt;b&gt;é&lt;/b&gt;" in shown
    assert "<b>" not in shown
    assert "x&amp;y" in shown
    assert "4 pairs" in shown


def test_take_where_and_pickle():
    pairs = small()
    assert pairs.take([2, 0]).id == ("3", "1")
    assert pairs.take(np.array([True, False, True])).id == ("1", "3")
    assert pairs.where("test").id == ("2",)
    assert len(pairs.take([])) == 0
    assert pickle.loads(pickle.dumps(pairs)) == pairs
    assert hash(pairs) == hash(small())
    for wrong in ([3], [0.5], [True]):
        with pytest.raises(IndexError):
            pairs.take(wrong)


def test_columns_of_unequal_length_are_refused():
    with pytest.raises(ValueError, match="text has 1 values where id has 2"):
        PairSet(("a",), ("C", "C"), ("1", "2"), ("train", "train"), "made")


def test_digest_against_the_written_definition():
    expected = hashlib.sha256(b"4 columns, 1 rows\n")
    for value in ("7", "é", "CCO", "train"):
        encoded = value.encode()
        expected.update(len(encoded).to_bytes(8, "big") + encoded)
    pairs = PairSet(("é",), ("CCO",), ("7",), ("train",), "anywhere")
    assert pairs.digest == expected.hexdigest()
    assert content_digest(["ab"], ["c"]) != content_digest(["a"], ["bc"])


def test_pool_targets_and_missing_ids():
    pairs = small()
    pool = PairSet(("",) * 4, ("O", "CCC", "CC", "C"), ("9", "3", "2", "1"), ("",) * 4, "pool")
    targets = pool_targets(pairs, pool)
    assert targets.dtype == np.int64
    assert targets.tolist() == [3, 2, 1]
    with pytest.raises(InputError, match="2 of 3 pairs of made are not in the pool pool: '1', '3'"):
        pool_targets(pairs, pool.take([2]))


# --- splits: one molecule is never on two sides, and sizes are those asked for


@settings(deadline=None)
@given(st.lists(st.integers(0, 12), max_size=80), st.floats(0, 0.5), st.floats(0, 0.5), st.integers(0, 5))
def test_groups_stay_together_and_sizes_are_never_exceeded(groups, test, validation, seed):
    sizes = {"test": int(test * len(groups)), "validation": int(validation * len(groups))}
    names = group_split(groups, sizes, seed=seed)
    assert len(names) == len(groups)
    assert len(set(zip(names, groups, strict=True))) == len(set(groups))
    counts = Counter(names)
    assert all(counts[name] <= size for name, size in sizes.items())
    assert names == group_split(groups, sizes, seed=seed)


def test_a_giant_group_goes_to_the_rest():
    groups, sizes = ["giant"] * 60 + list(range(40)), {"test": 10, "validation": 10}
    names = group_split(groups, sizes)
    assert names != group_split(groups, sizes, seed=1)
    assert set(names[:60]) == {"train"}
    assert Counter(names) == {"train": 80, "test": 10, "validation": 10}


def test_random_split_keeps_molecules_together_and_counts_them():
    molecules = [structure("C" * (1 + number // 2)) for number in range(100)]
    names, notes = make_splits(molecules, "random", seed=3)
    assert all(names[row] == names[row + 1] for row in range(0, 100, 2))
    assert Counter(names) == {"train": 80, "validation": 10, "test": 10}
    assert any("100 rows share a skeleton" in note and "50 groups" in note for note in notes)
    assert any("seed 3: 80 train, 10 validation, 10 test" in note for note in notes)


@pytest.mark.parametrize("kind", ["random", "scaffold"])
def test_protonation_states_stay_together_unless_structures_are_asked_for(kind):
    chains = ["C" * length for length in range(1, 41)]
    molecules = [structure(smiles) for chain in chains for smiles in (f"{chain}c1cccnc1", f"{chain}c1ccc[nH+]c1")]
    if kind == "scaffold":
        # two scaffolds, one with a charge, of which each has molecules of its own
        molecules += [structure(f"c1ccc({chain})cc1") for chain in chains]
    sides = {}
    for group in ("skeleton", "structure"):
        names, notes = make_splits(molecules, kind, group=group)
        sides[group] = sum(names[row] != names[row + 1] for row in range(0, 80, 2))
        assert ("no two rows share a stereo-free structure" in notes) == (group == "structure")
    assert sides["skeleton"] == 0
    assert (sides["structure"] > 0) == (kind == "random")
    with pytest.raises(InputError, match="group='inchi': expected one of skeleton, structure"):
        make_splits(molecules, kind, group="inchi")


def test_scaffold_split_never_divides_a_scaffold():
    rings = ["c1ccccc1", "C1CCCCC1", "C1CCNC1", "c1ccncc1", "c1ccoc1", "C1CCOC1", "C1CC1", "c1ccsc1"]
    molecules = [structure("C" * tail + ring) for ring in rings for tail in range(1, 6)] + [structure("CCO")] * 10
    names, notes = make_splits(molecules, "scaffold")
    sides = {scaffold(molecule.key): set() for molecule in molecules}
    for molecule, name in zip(molecules, names, strict=True):
        sides[scaffold(molecule.key)].add(name)
    assert all(len(side) == 1 for side in sides.values())
    assert Counter(names)["test"] == Counter(names)["validation"] == 5
    assert any("9 scaffolds; 10 rows have no ring" in note for note in notes)


def test_overlaps_against_a_naive_count():
    splits = ["train", "test", "train", "validation", "test", "train"]
    keys = ["A", "A", "B", "B", "C", "A"]
    skeletons = ["a", "a", "b", "b", "b", "a"]
    molecules = [Structure("", key, skeleton, "") for key, skeleton in zip(keys, skeletons, strict=True)]
    texts = ["one", "two", "three", "three", "one", "four"]
    one, none = "1 stereo-free structure", "0 stereo-free structures"
    assert overlap_notes(splits, molecules, texts) == (
        f"train/validation share {one} (1 and 1 rows), 1 skeleton (1 and 1 rows), 1 text (1 and 1 rows); "
        "no row was moved",
        f"train/test share {one} (2 and 1 rows), 2 skeletons (3 and 2 rows), 1 text (1 and 1 rows); no row was moved",
        f"validation/test share {none} (0 and 0 rows), 1 skeleton (1 and 1 rows), 0 texts (0 and 0 rows); "
        "no row was moved",
    )


def test_split_names():
    names = {" Train ": "train", **dict.fromkeys(("VAL", "dev", "valid"), "validation"), "fold 3": "fold 3"}
    assert {name: split_name(name) for name in names} == names
    assert split_order(["b", "test", "train", "a"]) == ("train", "test", "a", "b")
