"""Export a trained run as a folder to publish: weights, the settings to load them, and a model card."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from class_kit import __version__
from class_kit.errors import InputError
from class_kit.files import atomic_write, home_path, write_json, write_text
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

# {config[backbone]}, {record.arm.order} order

A retriever of molecules by descriptions and of descriptions by molecules, trained with class_kit {config[class_kit]}.

## Data

`{source}`, {sizes} pairs; SHA-256 of the pairs `{config[pairs][digest]}`.{noise}

## Training

Order `{record.arm.order}`, schedule `{record.arm.schedule}`, seed {record.seed}: {record.steps:,} steps,
{record.samples:,} samples; the best of {record.config[epochs]} epochs is {record.best_epoch}. Encoders: `{text}` for
texts, `{molecules}` for molecules. `config.json` has every setting and the digests of the encoders.

## Results

For the {split} pairs, with 95 % intervals over queries; ties count by their expectation. These are numbers of one
training; another seed gives others.

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
    """Write a trained run as a folder that can be published; it contains no local paths.

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
        As `load_trained`, or where the folder is not empty.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: exists; expected a new or an empty folder")
    record, task = load_trained(Path(run))
    needs = load_backbone(record, task).inputs
    training = dict(record.config)
    options = training.pop("backbone_options")
    if "encoder" in options:
        options = options | {"encoder": _published(options["encoder"])}
    config = {
        "class_kit": __version__,
        "backbone": training.pop("backbone"),
        "backbone_options": options,
        "widths": [task.text_inputs(needs.text).width, task.molecule_inputs(needs.molecules).width],
        "encoders": {name: _published(value) for name, value in task.encoders.items()},
        "encoder_digests": _encoder_digests(task.encoders),
        "pairs": {
            "source": Path(task.pairs.source).name,
            "digest": task.pairs.digest,
            "splits": dict(Counter(task.pairs.split)),
        },
        "arm": asdict(record.arm),
        "training": training,
    }
    with atomic_write(folder / "model.safetensors") as temporary:
        shutil.copyfile(record.folder / "model.safetensors", temporary)
    write_json(folder / "config.json", config)
    write_text(folder / "README.md", _card(record, task, config))
    return folder


def _card(record: Record, task: Task, config: Mapping[str, Any]) -> str:
    rows = []
    for name, ranks in record.ranks.items():
        metrics, cells = retrieval_metrics(ranks), [name, f"{ranks.pool:,}"]
        for metric, form in {"hits@1": "{:.1%}", "hits@10": "{:.1%}", "mrr": "{:.3f}", "mean_rank": "{:.1f}"}.items():
            cells.append(f"{form} ({form} to {form})".format(metrics[metric], *metrics[f"{metric}_ci"]))
        rows.append(f"| {' | '.join(cells)} |")
    share = 0 if task.exchanged is None else task.exchanged.sum() / len(task.rows("train"))
    return _CARD.format(
        config=config,
        record=record,
        source=one_line(config["pairs"]["source"]),
        sizes=", ".join(f"{size:,} {one_line(name)}" for name, size in config["pairs"]["splits"].items()),
        noise=f" Of the training pairs {share:.1%} were given another pair's molecule on purpose." if share else "",
        text=one_line(config["encoders"]["text"]),
        molecules=one_line(config["encoders"]["molecules"]),
        split=one_line(split_title(task.evaluation_split)),
        rows="\n".join(rows),
    )


def _published(encoder: str) -> str:
    """The name of an encoder: of a file or folder its last part, anything else, such as a hub id, as it is."""
    return Path(encoder).name if home_path(encoder).exists() else encoder


def _encoder_digests(encoders: Mapping[str, str]) -> dict[str, str]:
    from class_kit.molecules.vectors import load_vectors
    from class_kit.text.encoders import find_encoder

    digests = {"text": find_encoder(encoders["text"]).digest}
    if encoders["molecules"] == "mol2vec":
        digests["vectors"] = load_vectors(encoders["vectors"]).digest
    return digests
