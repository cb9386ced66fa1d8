"""Ranks of a task's pairs under trained backbones, a metric while training, and search for single texts."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.inputs import Inputs, encode
from class_kit.molecules.structures import structure, structures
from class_kit.retrieval import (
    RERANKED,
    Ranks,
    ensemble_ranks,
    export_trec,
    per_query_metrics,
    rerank,
    retrieval_ranks,
    retrieval_ranks_both_ways,
    search,
)
from class_kit.task import Task, read_molecules, read_texts

if TYPE_CHECKING:
    from class_kit.backbones.base import Backbone

# ranking -> queries and candidates; the pool is that of all molecules
SIDES = {
    "text_to_molecule/split": ("text", "molecules"),
    "text_to_molecule/all": ("text", "pool"),
    "molecule_to_text/split": ("molecules", "text"),
}
RANKINGS = tuple(SIDES)
# the second reading of a ranking, where texts or molecules repeat in its pool
ANY = ", any right one"
# numbers kept of what full scores need: 2 GiB in float32
_MOST_NUMBERS = 2**29
_ENCODED_AT_ONCE = 64


def rank_split(backbone: Backbone, task: Task, split: str) -> dict[str, Ranks]:
    """Rank a split in both directions: in the split's own pool, and text→molecule in the pool of all molecules.

    Right is a pair's own partner; where `right_candidates` finds more, the ranking stands a second time under its name
    and `ANY`. Where the backbone's full score needs a text and a molecule together, cosines rank the whole pool and the
    full score ranks each query's best 50 again.
    """
    inputs = _three_sides(backbone, task, split)
    vectors = _encoded(backbone, inputs)
    ranks = {}
    for name, targets in _readings(task, split).items():
        queries, candidates = SIDES[name.removesuffix(ANY)]
        ranks[name] = retrieval_ranks(vectors[queries], vectors[candidates], targets)
        if backbone.reranks:
            swap = candidates == "text"
            best, _ = search(vectors[queries], vectors[candidates], min(RERANKED, len(vectors[candidates])))
            score = full_scores(backbone, inputs["text"], inputs[queries if swap else candidates], swap=swap)
            ranks[name] = rerank(ranks[name], best, targets, score, progress=False)
    return ranks


def rank_ensemble(models: Sequence[tuple[Backbone, Task]], split: str) -> dict[str, Ranks]:
    """Rank a split as `rank_split` does, by the mean of the ranks that each model's cosines give a candidate.

    Each model comes with its own task, since models may read other encoders; the pairs must be the same.
    """
    vectors = [_encoded(backbone, _three_sides(backbone, task, split)) for backbone, task in models]
    ranks = {}
    for name, targets in _readings(models[0][1], split).items():
        queries, candidates = SIDES[name.removesuffix(ANY)]
        ranks[name] = ensemble_ranks([(sides[queries], sides[candidates]) for sides in vectors], targets)
    return ranks


def right_candidates(task: Task, split: str) -> dict[str, list[list[int]]]:
    """Every right candidate of each query, for the rankings in which some query has several.

    A molecule is right for a text where some pair of the task has this text and this molecule, stereochemistry aside
    (the `key` of `class_kit.molecules.structures`); and the other way round.

    Returns
    -------
    dict of ranking to Q lists of positions in its pool, ascending
    """
    rows = task.rows(split)

    def keys(smiles: Sequence[str]) -> list[str]:
        return [found.key or given for found, given in zip(structures(smiles), smiles, strict=True)]

    own, texts = keys(task.pairs.smiles), task.pairs.text
    sides = {"text": [texts[row] for row in rows], "molecules": [own[row] for row in rows]}
    sides["pool"] = own if task.molecules is task.pairs else keys(task.molecules.smiles)
    partners: dict[str, dict[str, set[str]]] = {"text": {}, "molecules": {}}
    known = range(len(own)) if task.exchanged is None else np.flatnonzero(~task.exchanged)
    for text, key in ((texts[row], own[row]) for row in known):
        partners["text"].setdefault(text, set()).add(key)
        partners["molecules"].setdefault(key, set()).add(text)
    right = {}
    for name, (queries, candidates) in SIDES.items():
        places: dict[str, list[int]] = {}
        for place, value in enumerate(sides[candidates]):
            places.setdefault(value, []).append(place)
        # equal queries share one list
        found = {
            query: sorted(place for value in partners[queries][query] for place in places.get(value, ()))
            for query in set(sides[queries])
        }
        if any(len(one) > 1 for one in found.values()):
            right[name] = [found[query] for query in sides[queries]]
    return right


def _readings(task: Task, split: str) -> dict[str, Any]:
    """Targets of every ranking, and right behind it of its second reading."""
    several, goals = right_candidates(task, split), _targets(task, split)
    readings: dict[str, Any] = {}
    for name, (_, candidates) in SIDES.items():
        readings[name] = goals[candidates]
        if name in several:
            readings[name + ANY] = several[name]
    return readings


def split_inputs(backbone: Backbone, task: Task, split: str) -> tuple[Inputs, Inputs]:
    """Texts and molecules of a split as the backbone reads them."""
    rows, needs = task.rows(split), backbone.inputs
    return task.text_inputs(needs.text, rows), task.molecule_inputs(needs.molecules, rows)


def validation_metrics(task: Task, split: str = "validation") -> Callable[[Backbone], Mapping[str, float]]:
    """A function of the backbone for `train(validate=…)`: MRR, the mean of both directions, in the split's pool."""

    def validate(backbone: Backbone) -> Mapping[str, float]:
        text, molecules = split_inputs(backbone, task, split)
        both = retrieval_ranks_both_ways(encode(backbone, "text", text), encode(backbone, "molecules", molecules))
        return {"mrr": float(np.mean([per_query_metrics(ranks)["mrr"].mean() for ranks in both]))}

    return validate


def export_rankings(
    folder: str | os.PathLike[str], backbone: Backbone, task: Task, split: str, rankings: Collection[str]
) -> None:
    """Write some of the rankings of `rank_split` as TREC files (`export_trec`), each in a folder of its name.

    Raises
    ------
    InputError
        The backbone ranks again by a full score, which only some of the candidates have.
    """
    if backbone.reranks:
        raise InputError("this backbone ranks its best candidates again by a full score: only cosines can be exported")
    vectors = _encoded(backbone, _three_sides(backbone, task, split))
    own = [task.pairs.id[row] for row in task.rows(split)]
    names = {"text": own, "molecules": own, "pool": task.molecules.id}
    for name, targets in _readings(task, split).items():
        queries, candidates = SIDES[name.removesuffix(ANY)]
        if name in rankings:
            place = Path(folder) / name.replace("/", "-").replace(ANY, "-any-right-one")
            sides, ids = (vectors[queries], vectors[candidates]), (names[queries], names[candidates])
            export_trec(place, sides, targets, query_ids=ids[0], candidate_ids=ids[1])


def search_molecules(backbone: Backbone, task: Task, text: str, top: int) -> list[tuple[int, float]]:
    """Rows of the pool of all molecules that fit a free text best, with their cosines, best first, a molecule once."""
    query = encode(backbone, "text", read_texts([text], backbone.inputs.text, task.encoders["text"]))
    pool = encode(backbone, "molecules", task.pool_inputs(backbone.inputs.molecules))
    rows, scores = search(query, pool, len(pool))
    found: dict[str, tuple[int, float]] = {}
    for row, score in zip(rows[0].tolist(), scores[0].tolist(), strict=True):
        smiles = task.molecules.smiles[row]
        found.setdefault(structure(smiles).isomer or smiles, (row, score))
        if len(found) == top:
            break
    return list(found.values())


def pair_cosines(backbone: Backbone, task: Task, texts: Sequence[str], smiles: Sequence[str]) -> np.ndarray:
    """Cosine of each text with its molecule under a trained backbone, `(L,)` float64 in [-1, 1].

    For generated captions or molecules this is what the field calls the Text2Mol score (Edwards et al. 2022, MolT5),
    there under one fixed Text2Mol model.

    Parameters
    ----------
    task : Task
        The backbone's own, for its encoders.
    texts, smiles : L strings each

    Raises
    ------
    InputError
        As `embed_text` and `embed_molecules`, or where there are not as many texts as SMILES.
    """
    if len(texts) != len(smiles):
        raise InputError(f"{len(texts)} texts and {len(smiles)} SMILES: expected as many")
    needs = backbone.inputs
    t = encode(backbone, "text", read_texts(texts, needs.text, task.encoders["text"], cache=True))
    m = encode(backbone, "molecules", read_molecules(smiles, needs.molecules, task.encoders, cache=True))
    t, m = (x.astype(np.float64) for x in (t, m))
    norms = np.linalg.norm(t, axis=1) * np.linalg.norm(m, axis=1)
    # a zero vector has no direction: its cosine counts as 0
    return np.asarray((t * m).sum(axis=1) / np.where(norms > 0, norms, 1))


def first_molecules(backbone: Backbone, task: Task, split: str) -> np.ndarray:
    """Which molecule of the split's pool stands first for each of its texts, `(Q,)` int64 positions in the split."""
    text, molecules = split_inputs(backbone, task, split)
    return search(encode(backbone, "text", text), encode(backbone, "molecules", molecules), 1)[0][:, 0]


def full_scores(
    backbone: Backbone, text: Inputs, molecules: Inputs, *, swap: bool = False
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The full score of a backbone that ranks again, as a function of n query rows and n candidate rows, `(n,)`.

    A shortlist of 50 for every query names each text and molecule many times over, so what the score needs of each
    (`Backbone.pair_parts`) is encoded when its row is first asked for, and kept.

    Parameters
    ----------
    text, molecules : Inputs
        Both sides; rows count in them.
    swap : bool
        Whether the queries are molecules.
    """
    import torch

    device = next(backbone.parameters()).device
    sides = {"text": text, "molecules": molecules}
    kept: dict[str, dict[int, Any]] = {side: {} for side in sides}
    held = dict.fromkeys(sides, 0)

    def parts(side: str, rows: np.ndarray) -> list[Any]:
        """Of each row."""
        if held[side] > _MOST_NUMBERS:
            kept[side].clear()
            held[side] = 0
        new = np.array([row for row in np.unique(rows).tolist() if row not in kept[side]], np.int64)
        for some in np.split(new, range(_ENCODED_AT_ONCE, len(new), _ENCODED_AT_ONCE)) if len(new) else ():
            encoded = backbone.pair_parts(side, sides[side].take(some, device))
            kept[side].update(zip(some.tolist(), encoded, strict=True))
            held[side] += sum(tensor.numel() for one in encoded for tensor in one)
        return [kept[side][row] for row in rows.tolist()]

    def scores(queries: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        texts, others = (candidates, queries) if swap else (queries, candidates)
        with torch.no_grad():
            given = backbone.part_scores(parts("text", texts), parts("molecules", others))
        return np.asarray(given.double().cpu().numpy())

    return scores


def _three_sides(backbone: Backbone, task: Task, split: str) -> dict[str, Inputs]:
    """Texts and molecules of a split, and the pool of all molecules."""
    text, molecules = split_inputs(backbone, task, split)
    return {"text": text, "molecules": molecules, "pool": task.pool_inputs(backbone.inputs.molecules)}


def _encoded(backbone: Backbone, inputs: Mapping[str, Inputs]) -> dict[str, np.ndarray]:
    return {name: encode(backbone, "text" if name == "text" else "molecules", side) for name, side in inputs.items()}


def _targets(task: Task, split: str) -> dict[str, np.ndarray]:
    """Where a split's pairs stand among each kind of candidates."""
    own = np.arange(len(task.rows(split)))
    return {"text": own, "molecules": own, "pool": task.targets(split)}
