"""A trained run as a folder to publish: weights, what they need to be used, and a model card."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit import __version__
from class_kit.errors import InputError
from class_kit.files import atomic_write, write_json, write_text
from class_kit.notices import split_title
from class_kit.retrieval import retrieval_metrics
from class_kit.study.records import load_backbone, load_trained
from class_kit.terminal import one_line

if TYPE_CHECKING:
    from class_kit.study.records import Record
    from class_kit.task import Task

_CARD = """---
library_name: class_kit
tags: [text-molecule-retrieval, curriculum-learning]
---

# {backbone}, {order} order

A retriever of molecules by descriptions and of descriptions by molecules, trained with class_kit {version}.

## Data

`{source}`, {sizes} pairs; SHA-256 of the pairs `{digest}`.{noise}

## Training

Order `{order}`, schedule `{schedule}`, seed {seed}: {steps:,} steps, {samples:,} samples, best of {epochs} epochs is
{best_epoch}. Encoders: `{text_encoder}` for texts, `{molecule_encoder}` for molecules. `config.json` has every
setting and the digests of the encoders.

## Results

Of the {split} pairs, with 95 % intervals over queries; ties are counted by their expectation. One training: another
seed gives other numbers.

| ranking | pool | Hits@1 | Hits@10 | MRR | Mean Rank |
|---|---:|---:|---:|---:|---:|
{rows}

## Use

```python
import json
from pathlib import Path
from safetensors.torch import load_file
from class_kit.backbones import create_backbone
from class_kit.task import read_molecules, read_texts
from class_kit.training import encode

config = json.loads(Path("config.json").read_text())
backbone = create_backbone(config["backbone"], *config["widths"], **config["backbone_options"])
backbone.load_state_dict(load_file("model.safetensors"))
backbone.eval()
needs, encoders = backbone.inputs, config["encoders"]
t = encode(backbone, "text", read_texts(["a ketone"], needs.text, encoders["text"]))
m = encode(backbone, "molecules", read_molecules(["CC(C)=O"], needs.molecules, encoders))
```
"""


def export_run(run: str | os.PathLike[str], folder: str | os.PathLike[str]) -> Path:
    """Write a trained run as a folder that can be published; it names no file of this machine.

    Parameters
    ----------
    run : path
        Folder written by `class-kit train`.
    folder : path
        Gets `model.safetensors`, `config.json` (backbone, encoders with their digests, every setting) and `README.md`,
        a model card with data, splits, and metrics with pools and intervals.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    InputError
        As `load_trained`, or where the folder holds something already.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists; expected a new or an empty folder")
    record, task = load_trained(Path(run))
    needs = load_backbone(record, task).inputs
    training = dict(record.config)
    config = {
        "class_kit": __version__,
        "backbone": training.pop("backbone"),
        "backbone_options": training.pop("backbone_options"),
        "widths": [task.text_inputs(needs.text).width, task.molecule_inputs(needs.molecules).width],
        "encoders": {name: Path(value).name for name, value in task.encoders.items()},
        "encoder_digests": _encoder_digests(task),
        "pairs": {"source": Path(task.pairs.source).name, "digest": task.pairs.digest, "splits": _sizes(task)},
        "arm": asdict(record.arm),
        "training": training,
    }
    with atomic_write(folder / "model.safetensors") as temporary:
        temporary.write_bytes((record.folder / "model.safetensors").read_bytes())
    write_json(folder / "config.json", config)
    write_text(folder / "README.md", _card(record, task, config))
    return folder


def _card(record: Record, task: Task, config: Mapping[str, Any]) -> str:
    rows = []
    for name, ranks in record.ranks.items():
        metrics = retrieval_metrics(ranks)
        cells = []
        for metric, form in {"hits@1": "{:.1%}", "hits@10": "{:.1%}", "mrr": "{:.3f}", "mean_rank": "{:.1f}"}.items():
            value, low, high = (form.format(each) for each in (metrics[metric], *metrics[f"{metric}_ci"]))
            cells.append(f"{value} ({low} to {high})")
        rows.append(f"| {' | '.join([name, f'{ranks.pool:,}', *cells])} |")
    share = 0 if task.exchanged is None else task.exchanged.sum() / len(task.rows("train"))
    return _CARD.format(
        backbone=config["backbone"],
        order=record.arm.order,
        schedule=record.arm.schedule,
        version=__version__,
        source=one_line(config["pairs"]["source"]),
        sizes=", ".join(f"{size:,} {one_line(name)}" for name, size in _sizes(task).items()),
        digest=task.pairs.digest,
        noise=f" Of the training pairs {share:.1%} were given another pair's molecule on purpose." if share else "",
        seed=record.seed,
        steps=record.steps,
        samples=record.samples,
        epochs=record.config["epochs"],
        best_epoch=record.best_epoch,
        text_encoder=one_line(config["encoders"]["text"]),
        molecule_encoder=one_line(config["encoders"]["molecules"]),
        split=one_line(split_title(task.evaluation_split)),
        rows="\n".join(rows),
    )


def _encoder_digests(task: Task) -> dict[str, str]:
    from class_kit.molecules.vectors import load_vectors
    from class_kit.text.encoders import find_encoder

    digests = {"text": find_encoder(task.encoders["text"]).digest}
    if task.encoders["molecules"] == "mol2vec":
        digests["vectors"] = load_vectors(task.encoders["vectors"]).digest
    return digests


def _sizes(task: Task) -> dict[str, int]:
    return {name: task.pairs.split.count(name) for name in dict.fromkeys(task.pairs.split)}
