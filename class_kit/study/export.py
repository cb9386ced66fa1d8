"""Export a trained run as a folder to publish: weights, the settings to load them, and a model card."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from class_kit import __version__
from class_kit.files import PACKAGE, atomic_write, home_path, own_folder, write_json, write_text
from class_kit.notices import split_title
from class_kit.retrieval import retrieval_metrics
from class_kit.study.records import load_backbone, load_trained
from class_kit.terminal import one_line

if TYPE_CHECKING:
    from class_kit.task import Task


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
    from jinja2 import Environment

    folder = own_folder(folder)
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
        "widths": [task.inputs("text", needs.text).width, task.inputs("molecules", needs.molecules).width],
        "encoders": {name: _published(value) for name, value in task.encoders.items()},
        "encoder_digests": _encoder_digests(task),
        "pairs": {
            "source": Path(task.pairs.source).name,
            "digest": task.pairs.digest,
            "splits": dict(Counter(task.pairs.split)),
        },
        "arm": asdict(record.arm),
        "training": training,
    }
    rows = []
    for name, ranks in record.ranks.items():
        metrics, cells = retrieval_metrics(ranks), [name, f"{ranks.pool:,}"]
        for metric, form in {"hits@1": "{:.1%}", "hits@10": "{:.1%}", "mrr": "{:.3f}", "mean_rank": "{:.1f}"}.items():
            cells.append(f"{form} ({form} to {form})".format(metrics[metric], *metrics[f"{metric}_ci"]))
        rows.append(cells)
    pages = Environment(trim_blocks=True, keep_trailing_newline=True)
    pages.filters["line"] = one_line
    card = pages.from_string((PACKAGE / "study" / "model_card.md.j2").read_text(encoding="utf-8")).render(
        config=config,
        record=record,
        noise=0 if task.exchanged is None else task.exchanged.sum() / len(task.rows("train")),
        split=split_title(task.evaluation_split),
        rows=rows,
    )
    with atomic_write(folder / "model.safetensors") as temporary:
        shutil.copyfile(record.folder / "model.safetensors", temporary)
    write_json(folder / "config.json", config)
    write_text(folder / "README.md", card)
    return folder


def _published(encoder: str) -> str:
    """The name of an encoder: of a file or folder its last part, anything else, such as a hub id, as it is."""
    return Path(encoder).name if home_path(encoder).exists() else encoder


def _encoder_digests(task: Task) -> dict[str, str]:
    from class_kit.molecules.vectors import load_vectors
    from class_kit.text.encoders import find_encoder

    digests = {"text": find_encoder(task.encoders["text"]).digest}
    if task.encoders["molecules"] == "mol2vec":
        digests["vectors"] = load_vectors(task.encoders["vectors"]).digest
    return digests
