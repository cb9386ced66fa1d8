"""`train`, `evaluate`, `score`, `export` and `search` as a user types them, on a file of their own."""

import json
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch
from rdkit import Chem

from class_kit.backbones import _REGISTERED
from class_kit.cli import build_parser, main
from class_kit.cli.train import arm_from, config_from
from class_kit.errors import InputError
from class_kit.files import corpus_file
from class_kit.retrieval import retrieval_metrics, retrieval_ranks
from class_kit.study.ranking import right_candidates
from class_kit.study.records import load_backbone, load_trained, newest_training
from class_kit.training import encode

COLUMNS = ["--text", "words", "--smiles", "structure", "--molecule-encoder", "morgan"]
SHORT = [*COLUMNS, "--epochs", "2", "--batch-size", "32", "--backbone-option", "hidden=32"]
RUN = ["train", "own.csv", *COLUMNS, "--epochs", "4", "--batch-size", "32", "--out", "run"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on 80 short descriptions, in a file with column names of its own and one bad row."""
    place = tmp_path_factory.mktemp("train")
    rows = pandas.read_csv(corpus_file(), dtype=str).iloc[::55]
    own = pandas.DataFrame(
        {"structure": rows["smiles"], "words": rows["description"].str.split().str[3:9].str.join(" ")}
    )
    own.assign(split=rows["split"]).to_csv(place / "own.csv", index=False)
    with open(place / "own.csv", "a", encoding="utf-8") as file:
        file.write("C1CC,broken ring,train\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("CLASS_KIT_CACHE", str(place / "cache"))
        assert main(RUN) == 0
    return place


@pytest.fixture(autouse=True)
def _inside(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CLASS_KIT_CACHE", str(folder / "cache"))


def record_of(folder: Path) -> dict:
    return json.loads((folder / "record.json").read_text(encoding="utf-8"))


def test_a_run_finds_its_pairs_from_another_folder_and_says_where_it_looked(folder: Path, here: Path, kit: Any) -> None:
    shutil.copytree(folder / "run", here / "run")
    kit("evaluate", "run")
    stored = json.loads(Path("run/task.json").read_text(encoding="utf-8"))
    assert stored["task"]["pairs"] == str(folder / "own.csv")
    stored["task"]["pairs"] = "/moved/own.csv"
    Path("run/task.json").write_text(json.dumps(stored), encoding="utf-8")
    said = kit("evaluate", "run", code=2)
    assert all(str(place) in said for place in ("/moved/own.csv", here / "run" / "own.csv", here / "own.csv"))
    shutil.copy(folder / "own.csv", "run")
    kit("evaluate", "run")


def test_a_training_leaves_its_record_and_evaluate_prints_it(folder: Path, kit: Any) -> None:
    run = folder / "run"
    names = {path.name for path in run.iterdir()}
    assert {"task.json", "metrics.json", "record.json", "model.safetensors", "rejected.csv"} <= names
    assert "C1CC" in (run / "rejected.csv").read_text(encoding="utf-8")
    history = record_of(run)["history"]
    assert [entry["epoch"] for entry in history] == [1, 2, 3, 4]
    assert history[0]["rows"] < history[1]["rows"] <= history[-1]["rows"]
    shown = kit("evaluate", "run")
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    # in the pool of all, texts of this file repeat
    both = [name for name in metrics if f"{name}, any right one" in metrics]
    assert both == ["text_to_molecule/all"]
    for name, values in metrics.items():
        label = f"{name}, its own partner" if name in both else name
        (line,) = [line for line in shown.splitlines() if line.startswith(label)]
        assert f"{values['mrr']:.3f}" in line
        assert f"{int(values['pool'])}" in line
    assert "molecule_to_text" not in kit("evaluate", "run", "--pool", "all", "--split", "validation")


def test_evaluate_prints_what_all_right_candidates_are_worth(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "run", "--all-right", "--pool", "all"]) == 0
    shown = capsys.readouterr().out
    record, task = load_trained("run")
    backbone, rows = load_backbone(record, task), task.rows("test")
    t, m = encode(backbone, "text", task.t[rows]), encode(backbone, "molecules", task.m)
    right = right_candidates(task, "test")["text_to_molecule/all"]
    found = retrieval_metrics(retrieval_ranks(t, m, right, every=True))
    numbers = f"Recall@10 {found['recall@10']:.1%}, nDCG@10 {found['ndcg@10']:.3f}, MAP {found['map']:.3f}"
    assert f"text_to_molecule/all, any right one: {numbers}" in shown


def test_score_gives_the_cosine_of_each_text_with_its_molecule(tmp_path: Path, kit: Any) -> None:
    shown = kit("score", "run", "own.csv", *COLUMNS[:4], "--out", str(tmp_path / "scores.csv"))
    table = pandas.read_csv(tmp_path / "scores.csv")
    record, task = load_trained("run")
    assert list(table["smiles"]) == list(task.pairs.smiles)
    backbone = load_backbone(record, task)
    t, m = (torch.tensor(encode(backbone, side, x)) for side, x in (("text", task.t), ("molecules", task.m)))
    cosines = torch.nn.functional.cosine_similarity(t, m).numpy()
    np.testing.assert_allclose(table["cosine"], cosines, atol=2e-6)
    assert (cosines < 0).any(), "negative numbers stay numbers in the file"
    assert f"mean cosine of {len(table)} pairs: {cosines.mean():.3f}" in shown
    assert "1 row rejected" in shown
    assert "C1CC" in (tmp_path / "scores-rejected.csv").read_text(encoding="utf-8")


def test_an_exported_run_is_used_as_its_model_card_says(folder, tmp_path, monkeypatch, kit) -> None:
    out = tmp_path / "published"
    kit("export", "run", str(out))
    assert "expected a new or empty folder" in kit("export", "run", str(out), code=2)
    card = (out / "README.md").read_text(encoding="utf-8")
    written = card + (out / "config.json").read_text(encoding="utf-8")
    assert str(folder) not in written
    record, task = load_trained("run")
    metrics = json.loads((folder / "run" / "metrics.json").read_text(encoding="utf-8"))["metrics"]
    for name, own in metrics.items():
        low, high = own["hits@1_ci"]
        assert f"| {name} | {own['pool']:.0f} | {own['hits@1']:.1%} ({low:.1%} to {high:.1%}) |" in card
    backbone = load_backbone(record, task)
    monkeypatch.chdir(out)
    code = card.split("```python\n")[1].split("```")[0]
    code = code.replace('"a ketone"', "*task.pairs.text").replace('"CC(C)=O"', "*task.pairs.smiles")
    names: dict = {"task": task}
    exec(code, names)
    np.testing.assert_array_equal(names["t"], encode(backbone, "text", task.t))
    np.testing.assert_array_equal(names["m"], encode(backbone, "molecules", task.m))


def test_search_finds_what_it_is_asked_for(kit: Any) -> None:
    shown = kit("search", "The molecule is a carboxylic acid.", "--run", "run", "--top", "5").splitlines()
    lines = [line for line in shown if not line.startswith(" " * 14)]
    assert [line.split()[0] for line in lines] == ["1", "2", "3", "4", "5"]
    scores = [float(line.split()[1]) for line in lines]
    assert scores == sorted(scores, reverse=True)
    assert np.all(np.abs(scores) <= 1)
    _, task = load_trained("run")
    texts = dict(zip(task.pairs.smiles, task.pairs.text, strict=True))
    assert [line.strip() for line in shown if line not in lines] == [texts[line.split()[3]] for line in lines]


def test_a_molecule_with_several_texts_is_listed_once(tmp_path: Path, kit: Any) -> None:
    rows = pandas.read_csv("own.csv").dropna().iloc[:20]
    several = pandas.concat([rows, *(rows.assign(words=f"other words {number}") for number in range(4))])
    # another spelling is the same molecule
    several.iloc[-20:, 0] = [Chem.MolToSmiles(Chem.MolFromSmiles(one), doRandom=True) for one in rows["structure"]]
    several.to_csv(tmp_path / "several.csv", index=False)
    run = str(tmp_path / "run")
    assert "any right one" in kit("train", str(tmp_path / "several.csv"), *SHORT, "--out", run)
    shown = kit("search", "an acid", "--run", run, "--top", "50").splitlines()
    lines = [line for line in shown if not line.startswith(" " * 14)]
    assert len(lines) == len({line.split()[3] for line in lines}) == rows["structure"].nunique()
    assert sum("and 2 more texts" in line for line in shown) == len(lines)


def test_trec_files_give_the_metrics_of_evaluate(tmp_path: Path, kit: Any) -> None:
    assert "how ties are broken" in kit("evaluate", "run", "--trec", str(tmp_path / "trec"))
    metrics = json.loads(Path("run/metrics.json").read_text(encoding="utf-8"))["metrics"]
    folders = {name: name.replace("/", "-").replace(", any right one", "-any-right-one") for name in metrics}
    assert {path.name for path in (tmp_path / "trec").iterdir()} == set(folders.values())
    for name, folder in folders.items():
        run, right = (
            pandas.read_csv(tmp_path / "trec" / folder / file, sep=" ", header=None, names=columns, encoding="ascii")
            for file, columns in (
                ("run.txt", ["query", "q0", "document", "rank", "score", "tag"]),
                ("qrels.txt", ["query", "zero", "document", "relevant"]),
            )
        )
        best = run.merge(right, on=["query", "document"]).groupby("query")["rank"].min()
        # ties, of which there are few, are read in one order here
        assert (1 / best).mean() == pytest.approx(metrics[name]["mrr"], abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "  ", "--run", "run"], "is empty"),
        (["search", "acid", "--run", "run", "--top", "0"], "--top 0"),
        (["search", "acid", "--run", "nowhere"], "no finished training here"),
        (["search", "acid"], "no finished training in runs/"),
        (["score", "run", "own.csv", "--text", "texts"], "'texts'"),
        (["evaluate", "run", "--split", "dev"], "split='dev'"),
        (["train", "own.csv", "--out", "other"], "text"),
        (["train", "own.csv", "--backbone", "b"], "dual_encoder"),
        (["train", "own.csv", "--growth", "0.1", "--full-at", "0.5"], "give only one of them"),
        (["train", "own.csv", "--intensity", "a=inverse", "a=inverse"], "once for each term"),
        (["train", "own.csv", "--backbone-option", "hidden"], "expected NAME=VALUE"),
        (["train", "own.csv", "--backbone-option", "hidden=[1"], "expected a plain value"),
    ],
)
def test_bad_requests_are_one_line_and_exit_2(arguments: list[str], message: str, kit: Any) -> None:
    assert message in kit(*arguments, code=2)


@pytest.mark.parametrize(
    ("options", "arm", "config"),
    [
        ([], {"schedule": "linear", "full_at": 2 / 3, "growth": 0.0, "intensity": "inverse"}, {"epochs": 15}),
        (["--growth", "0.3"], {"growth": 0.3, "full_at": None}, {}),
        (["--share", "0.8"], {"share": 0.8, "growth": 0.0, "full_at": None}, {}),
        (["--pace", "metric"], {"pace": "metric", "growth": 0.1, "full_at": None}, {}),
        (
            ["--intensity", "text_to_molecule=sigmoid", "*=constant"],
            {"intensity": {"text_to_molecule": "sigmoid", "*": "constant"}},
            {},
        ),
        (
            ["--backbone-option", "hidden=32", "--backbone-option", "norm={a: [1, true]}", "--intensity-on", "lr"],
            {},
            {"backbone_options": {"hidden": 32, "norm": {"a": [1, True]}}, "intensity_on": "lr"},
        ),
        (["--finetune"], {}, {"backbone": "finetuned", "batch_size": 32, "learning_rate": 1e-4}),
        (["--finetune", "--batch-size", "8"], {}, {"batch_size": 8, "precision": "float32"}),
    ],
)
def test_options_become_an_arm_and_settings(options: list[str], arm: dict, config: dict) -> None:
    given = build_parser("train").parse_args(["train", "own.csv", *options])
    for made, expected in ((arm_from(given), arm), (config_from(given), config)):
        assert {name: getattr(made, name) for name in expected} == expected


def test_noise_is_in_the_name_the_record_and_the_last_lines(here: Path, kit: Any) -> None:
    (here / "own.csv").write_bytes(Path(os.environ["CLASS_KIT_CACHE"]).with_name("own.csv").read_bytes())
    shown = kit("train", "own.csv", *SHORT, "--noise", "0.2", "--order", "standard")
    assert "training pairs have another pair's molecule on purpose (noise 0.2, seed 0)" in shown[-200:]
    run = here / "runs" / "train-own-noise-0.2-standard-0"
    assert json.loads((run / "task.json").read_text(encoding="utf-8"))["task"]["noise"] == 0.2
    assert load_trained(run)[1].exchanged.any()


def test_near_duplicates_that_share_a_batch_are_told(tmp_path: Path, kit: Any) -> None:
    options = ["--order", "standard", "--hardness", "0.5", "--near", "molecules", "--duplicates", "apart"]
    shown = kit("train", "own.csv", *SHORT, *options, "--out", tmp_path / "run")
    assert re.search(r"epoch 1: \d+ near-duplicates share a batch with another, unavoidable for \d+ of them", shown)


def test_the_text_encoder_is_trained_where_it_is_asked_for(folder: Path, tmp_path: Path, kit: Any) -> None:
    lines = (folder / "own.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "few.csv").write_text("\n".join(lines[:-1:4]) + "\n", encoding="utf-8")
    out = tmp_path / "run"
    options = ["--finetune", "--epochs", "1", "--growth", "1", "--backbone-option", "hidden=16", "--out", str(out)]
    kit("train", str(tmp_path / "few.csv"), *COLUMNS, *options)
    settings = record_of(out)["config"]
    assert settings["backbone"] == "finetuned"
    assert settings["backbone_options"]["inner_options"] == {"hidden": 16}
    kit("search", "a ketone", "--run", str(out))


OWN = (
    "from class_kit import register_backbone\nfrom tests.test_study import Mine\nregister_backbone('of_my_own')(Mine)\n"
)


def test_a_backbone_of_ones_own_is_imported_by_name(folder: Path, tmp_path: Path, kit: Any) -> None:
    (folder / "of_my_own.py").write_text(OWN, encoding="utf-8")
    out = str(tmp_path / "run")
    own = ["--import", "of_my_own"]
    options = ["--epochs", "2", "--backbone", "of_my_own", "--backbone-option", "ends=well", "--out", out]
    kit("train", "own.csv", *COLUMNS, *options, *own)
    assert set(record_of(tmp_path / "run")["history"][0]) >= {"contrastive", "intensity/contrastive"}
    kit("evaluate", out, *own)
    kit("search", "a ketone", "--run", out, *own)
    _REGISTERED.pop("of_my_own")
    assert "'of_my_own' is unknown" in kit("evaluate", out, code=2)
    assert "--import 'no_such_module'" in kit("evaluate", out, "--import", "no_such_module", code=2)


def test_changed_pairs_are_noticed(folder: Path, kit: Any) -> None:
    own = folder / "own.csv"
    before = own.read_text(encoding="utf-8")
    try:
        own.write_text(before.replace(" ", " x ", 1), encoding="utf-8")
        assert "have changed since the training" in kit("evaluate", "run", code=2)
    finally:
        own.write_text(before, encoding="utf-8")


def finished(folder: Path, age: float) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "record.json").touch()
    os.utime(folder / "record.json", (time.time() - age, time.time() - age))


def test_search_takes_the_training_that_finished_last(folder: Path, here: Path, kit: Any) -> None:
    with pytest.raises(InputError, match="run class-kit train first"):
        newest_training(here)
    (here / "own.csv").write_bytes((folder / "own.csv").read_bytes())
    shutil.copytree(folder / "run", here / "runs" / "new")
    finished(here / "runs" / "new", age=0)
    finished(here / "runs" / "old", age=3600)
    (here / "runs" / "unfinished").mkdir()
    line, *shown = kit("search", "acid", "--top", "1").splitlines()
    assert line == "searching with runs/new, the newest in runs/; --run selects another"
    assert len(shown) == 2, "a molecule and its text"
    assert kit("search", "acid", "--top", "1", "--run", "runs/new").splitlines() == shown
