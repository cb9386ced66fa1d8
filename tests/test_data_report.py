"""The data report: each finding against a file in which it was put on purpose, and sentences that follow from it."""

import csv
import json
import pickle
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import class_kit as ck
from class_kit import data_report as module
from class_kit.data_report import DataReport, advise, data_report, find_repeats, group_reasons
from class_kit.difficulty import tie_mass
from class_kit.errors import InputError
from class_kit.files import plain
from class_kit.molecules import mol2vec_sentences
from class_kit.pairs import PairSet, Rejected
from class_kit.task import Task

LONG = "a molecule with a very long description " * 60
ROWS = [
    ("a", "an alcohol with two carbons", "CCO", "train"),
    ("b", "an alcohol with two carbons", "OCC", "train"),
    ("c", "an alcohol of another kind", "CCCO", "train"),
    ("d", "left-handed alanine, an amino acid", "C[C@H](N)C(=O)O", "train"),
    ("e", "right-handed alanine, an amino acid", "C[C@@H](N)C(=O)O", "test"),
    ("f", "an aromatic ring", "c1ccccc1", "train"),
    ("g", "an aromatic ring", "c1ccccc1O", "test"),
    ("h", LONG, "CCN", "train"),
    ("i", "an ether", "COC", "train"),
    ("j", "a thiol", "CCS", "train"),
    ("bad", "no molecule", "not-a-smiles", "train"),
    ("worse", "valence", "C(C)(C)(C)(C)C", "train"),
    ("a", "an id used twice", "CCCC", "train"),
]


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Task]:
    folder = tmp_path_factory.mktemp("report")
    with open(folder / "mine.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "text", "smiles", "split"), *ROWS])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASS_KIT_CACHE", str(folder / "cache"))
        pairs = ck.load_pairs(folder / "mine.csv", id="id", max_rejected=0.5)
        words = sorted({word for sentence in mol2vec_sentences(pairs.smiles) for word in sentence})
        vectors = np.random.default_rng(0).normal(size=(len(words), 6)).astype(np.float32)
        known = dict(zip(["UNK", *words[::2]], vectors, strict=False))
        (folder / "vectors.pkl").write_bytes(pickle.dumps(known))
        encoders = {"text": "minilm", "molecules": "mol2vec", "vectors": str(folder / "vectors.pkl")}
        t, m = ck.embed_text(pairs.text), ck.embed_molecules(pairs.smiles, vectors=encoders["vectors"])
        yield Task(pairs, t, m, pairs, m, encoders)


@pytest.fixture(scope="module")
def report(task: Task) -> DataReport:
    return data_report(task, sigmas=[0.5, 0.99], batch_size=4)


def test_rejected_rows_are_counted_by_kind(report: DataReport) -> None:
    assert report.pairs == 10
    assert sum(entry["rows"] for entry in report.rejected) == 3
    reasons = " | ".join(entry["reason"] for entry in report.rejected)
    assert "RDKit" in reasons
    assert "was already used" in reasons
    assert any(entry["says"] == "Left out: 3 rows (23.1%)." for entry in report.advice)


def test_a_thousand_rows_of_one_fault_are_one_line() -> None:
    reasons = [*(f"id 'n{at}' was already used in f.csv row {at}" for at in range(9)), "empty text"]
    rows = [Rejected("f.csv", at, at + 1, reason, "", "", "") for at, reason in enumerate(reasons)]
    assert group_reasons(rows) == [
        {"reason": "id … was already used in f.csv row …", "rows": 9, "first": str(rows[0])},
        {"reason": "empty text", "rows": 1, "first": str(rows[9])},
    ]


def test_repeats_are_found_and_named(report: DataReport) -> None:
    found = {entry["what"]: entry for entry in report.repeats}
    assert found["equal texts"] == {
        "what": "equal texts", "groups": 2, "rows": 4, "largest": 2, "across_splits": 1
    }  # fmt: skip
    assert found["equal molecules"]["groups"] == 1
    assert report.groups["equal molecules"] == [["a", "b"]]
    assert sorted(report.groups["equal molecules, stereochemistry aside"]) == [["a", "b"], ["d", "e"]]
    assert report.groups["equal text and molecule"] == [["a", "b"]]
    assert found["equal molecules, stereochemistry aside"]["across_splits"] == 1


@given(st.lists(st.sampled_from(["x", "y", "z", "w"]), min_size=1, max_size=12))
def test_groups_of_equal_texts_are_those_of_a_double_loop(texts: list[str]) -> None:
    ids = tuple(map(str, range(len(texts))))
    pairs = PairSet(tuple(texts), ("C",) * len(texts), ids, ("train",) * len(texts), "test")
    entries, groups = find_repeats(pairs)
    equal = {at for at, one in enumerate(texts) for other, two in enumerate(texts) if at != other and one == two}
    assert entries[0]["rows"] == len(equal)
    assert {int(name) for group in groups["equal texts"] for name in group} == equal
    assert sorted(map(len, groups["equal texts"]), reverse=True) == list(map(len, groups["equal texts"]))


def test_texts_and_coverage(report: DataReport, task: Task) -> None:
    assert report.texts["truncated"] == 1
    assert report.texts["longest"] > report.texts["max_tokens"]
    assert report.texts["distinct"] == 8
    coverage = ck.mol2vec_coverage(task.pairs.smiles, task.encoders["vectors"])
    assert report.coverage["overall"] == coverage.overall
    assert report.coverage["in_full"] == np.mean(coverage.known == coverage.total)


def test_difficulty_is_that_of_the_training_pairs(report: DataReport, task: Task) -> None:
    rows = task.rows("train")
    t, m = task.t[rows], task.m[rows]
    for entry in report.difficulty:
        counts = ck.neighbour_counts(t, m, sigma=entry["sigma"])
        assert entry["zero"] == np.mean(counts == 0)
        assert entry["tie_mass"] == tie_mass(counts)
        assert entry["largest"] == counts.max()
    assert report.sigma == ck.sigma_for_quantile(t, m, q=0.5)
    for entry in report.by_quantile:
        assert entry["sigma"] == ck.sigma_for_quantile(t, m, q=entry["quantile"])
        counts = ck.neighbour_counts(t, m, sigma=entry["sigma"])
        assert entry["tie_mass"] == tie_mass(counts)


def test_the_report_is_plain_data_and_the_same_twice(report: DataReport, task: Task) -> None:
    json.dumps(plain(report.as_dict(), "report"), allow_nan=False)
    assert "groups" not in report.as_dict()
    again = data_report(task, sigmas=[0.5, 0.99], batch_size=4)
    assert again.as_dict() == report.as_dict()
    assert [entry["level"] for entry in report.advice] == sorted((e["level"] for e in report.advice), reverse=True)


def good() -> dict[str, Any]:
    kinds = (
        "equal texts", "equal molecules", "equal molecules, stereochemistry aside",
        "equal skeletons (first InChIKey block)", "equal InChIKeys", "equal text and molecule",
    )  # fmt: skip
    return {
        "pairs": 5000,
        "splits": {"train": 4000, "test": 1000},
        "rejected": [],
        "repeats": [{"what": what, "groups": 0, "rows": 0, "largest": 0, "across_splits": 0} for what in kinds],
        "coverage": {"vectors": "corpus", "overall": 0.99, "without_known": 0},
        "texts": {"truncated": 0, "max_tokens": 256, "longest": 90, "median": 30.0, "distinct": 5000},
        "difficulty": [{"sigma": 0.9, "tie_mass": 0.4}],
        "by_quantile": [
            {"quantile": 0.25, "sigma": 0.8, "tie_mass": 0.2},
            {"quantile": 0.5, "sigma": 0.9, "tie_mass": 0.5},
        ],
    }


def test_nothing_is_warned_of_where_nothing_is_wrong() -> None:
    said = advise(good())
    assert [(entry["level"], entry["about"]) for entry in said] == [("note", "coverage"), ("note", "difficulty")]


@pytest.mark.parametrize(
    ("change", "about", "said"),
    [
        (lambda it: it.update(rejected=[{"rows": 600}]), "rejected rows", "10.7%"),
        (
            lambda it: it["repeats"][2].update(rows=4, across_splits=2),
            "leakage",
            "2 groups of equal molecules, stereochemistry aside in more",
        ),
        (lambda it: it["splits"].update(test=200), "size", "Only 200 test queries"),
        (lambda it: it["splits"].pop("test"), "size", "Only 0 test queries"),
        (lambda it: it["coverage"].update(overall=0.9), "coverage", "Only 90.0%"),
        (lambda it: it["coverage"].update(without_known=3), "coverage", "3 molecules without a known word"),
        (lambda it: it["texts"].update(truncated=7), "texts", "7 texts longer than 256"),
        (lambda it: it["texts"].update(median=5.0), "texts", "at most 5 tokens"),
        (lambda it: it["difficulty"][0].update(tie_mass=0.93), "difficulty", "93.0%"),
    ],
)
def test_each_trouble_is_warned_of_with_its_number(change: Any, about: str, said: str) -> None:
    found = good()
    change(found)
    warnings = [entry for entry in advise(found) if entry["level"] == "warning"]
    assert [entry["about"] for entry in warnings] == [about]
    assert said in warnings[0]["says"]


@pytest.mark.parametrize(
    ("sizes", "sigma", "said"),
    [
        # groups of pairs with equal vectors: the count below 1 is the size of a pair's group, less one
        (range(1, 30), 0.9, "At σ = 0.900 6.7% are tied: start from there"),
        ([4] * 20, 0.9, "No threshold that was tried ties less than 100.0% of the training pairs"),
    ],
)
def test_a_threshold_at_which_every_count_is_zero_is_not_suggested(sizes: Any, sigma: float, said: str) -> None:
    groups = np.repeat(np.arange(len(sizes)), sizes)
    t = np.eye(len(sizes), dtype=np.float32)[groups]
    counted, by_quantile = module._difficulty(t, t, [0.9, 0.99])
    assert by_quantile[1]["sigma"] == 1.0
    assert not ck.neighbour_counts(t, t, sigma=1.0).any()
    assert module._suggested(counted, by_quantile)["sigma"] in ((sigma,) if len(set(sizes)) > 1 else (sigma, 0.99, 1.0))
    told = advise(good() | {"difficulty": counted, "by_quantile": by_quantile})
    assert any(said in entry["says"] for entry in told)
    assert any("neighbour with nearly equal vectors" in entry["says"] for entry in told)
    assert not any("σ = 1.000" in entry["says"] for entry in told)


def test_what_cannot_be_reported_on_is_refused(task: Task) -> None:
    for options, said in (
        ({"sigmas": []}, "one or more thresholds"),
        ({"sigmas": [0.9, 0.9]}, "none of them twice"),
        ({"sigmas": [1.5]}, "sigmas=1.5"),
    ):
        with pytest.raises(InputError, match=said):
            data_report(task, **options)
    pairs = replace(task.pairs, split=("test",) * len(task.pairs))
    with pytest.raises(InputError, match="train"):
        data_report(replace(task, pairs=pairs, molecules=pairs))
    one = task.pairs.take([0])
    with pytest.raises(InputError, match="at least 2"):
        data_report(replace(task, pairs=one, molecules=one, t=task.t[:1], m=task.m[:1], pool=task.m[:1]))
