"""What trained backbones make of a task's pairs: ranks, losses, EL2N; and searches with single texts."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.difficulty.measures import el2n
from class_kit.errors import InputError
from class_kit.inputs import Inputs, encode
from class_kit.molecules.structures import structure, structures
from class_kit.neighbours.cosines import unit_rows
from class_kit.retrieval import (
    RERANKED,
    Ranks,
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
# where a learnt temperature usually starts (Radford et al. 2021, section 2.5), for backbones that learn none
TEMPERATURE = 0.07


def rank_split(backbone: Backbone, task: Task, split: str, *, every: bool = False) -> dict[str, Ranks]:
    """Rank a split in both directions: in the split's own pool, and text→molecule in the pool of all molecules.

    The right candidate is a pair's own partner. Where `right_candidates` names several for some query, the ranking is
    also given under its name and `ANY`. Where the backbone's full score needs a text and a molecule together, cosines
    rank the whole pool and the full score reranks each query's best 50.
    """
    inputs, vectors = _sides(backbone, task, split)
    ranks = {}
    for name, queries, candidates, targets in _readings(task, split):
        ranks[name] = retrieval_ranks(vectors[queries], vectors[candidates], targets, every=every)
        if backbone.reranks:
            swap = candidates == "text"
            best, _ = search(vectors[queries], vectors[candidates], min(RERANKED, len(vectors[candidates])))
            score = full_scores(backbone, inputs["text"], inputs[queries if swap else candidates], swap=swap)
            ranks[name] = rerank(ranks[name], best, targets, score, progress=False)
    return ranks


def right_candidates(task: Task, split: str) -> dict[str, list[list[int]]]:
    """Every right candidate of each query, for the rankings in which some query has several.

    A molecule is right for a text where some pair of the task has this text and this molecule, stereochemistry aside
    (the `key` of `class_kit.molecules.structures`); and the other way round.

    Returns
    -------
    dict of ranking to Q lists of positions in its pool, ascending
    """
    import pandas as pd

    def keys(smiles: Sequence[str]) -> list[str]:
        return [found.key or given for found, given in zip(structures(smiles), smiles, strict=True)]

    known = pd.DataFrame({"text": task.pairs.text, "molecules": keys(task.pairs.smiles)}, dtype=object)
    own = known.iloc[task.rows(split)]
    pool = known["molecules"] if task.molecules is task.pairs else pd.Series(keys(task.molecules.smiles))
    sides = {"text": own["text"], "molecules": own["molecules"], "pool": pool}
    if task.exchanged is not None:
        known = known[~task.exchanged]
    right = {}
    for name, (queries, candidates) in SIDES.items():
        asked = known[known[queries].isin(sides[queries])].drop_duplicates()
        partner = "text" if candidates == "text" else "molecules"
        offered = pd.DataFrame({partner: sides[candidates].to_numpy(), "place": range(len(sides[candidates]))})
        places = asked.merge(offered).groupby(queries)["place"].agg(sorted)
        if (places.map(len) > 1).any():
            right[name] = [places.get(query, []) for query in sides[queries]]
    return right


def _readings(task: Task, split: str) -> Iterator[tuple[str, str, str, Any]]:
    """Name, queries, candidates and targets of every ranking, directly followed by its second reading."""
    several, own = right_candidates(task, split), np.arange(len(task.rows(split)))
    for name, (queries, candidates) in SIDES.items():
        yield name, queries, candidates, task.targets(split) if candidates == "pool" else own
        if name in several:
            yield name + ANY, queries, candidates, several[name]


def split_inputs(backbone: Backbone, task: Task, split: str) -> tuple[Inputs, Inputs]:
    """Texts and molecules of a split as the backbone reads them."""
    rows, needs = task.rows(split), backbone.inputs
    return task.inputs("text", needs.text, rows), task.inputs("molecules", needs.molecules, rows)


def split_vectors(backbone: Backbone, task: Task, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The backbone's vectors of a split's texts and molecules, `(Q, d)` float32 each."""
    text, molecules = split_inputs(backbone, task, split)
    return encode(backbone, "text", text), encode(backbone, "molecules", molecules)


def both_ways(backbone: Backbone, task: Task, split: str, metric: str) -> np.ndarray:
    """A metric of each pair of a split in the split's own pool, text→molecule and molecule→text, `(2, Q)` float64."""
    both = retrieval_ranks_both_ways(*split_vectors(backbone, task, split))
    return np.stack([per_query_metrics(ranks)[metric] for ranks in both])


def validation_metrics(task: Task, split: str = "validation") -> Callable[[Backbone], Mapping[str, float]]:
    """A function of the backbone for `train(validate=…)`: MRR, the mean of both directions, in the split's pool."""
    return lambda backbone: {"mrr": float(both_ways(backbone, task, split, "mrr").mean(axis=1).mean())}


def export_rankings(
    folder: str | os.PathLike[str], backbone: Backbone, task: Task, split: str, rankings: Collection[str]
) -> None:
    """Write some of the rankings of `rank_split` as TREC files (`export_trec`), each in a folder of its name.

    Raises
    ------
    InputError
        The backbone reranks by a full score, which only some of the candidates have.
    """
    if backbone.reranks:
        raise InputError("this backbone reranks its best candidates by a full score: only cosines can be exported")
    _, vectors = _sides(backbone, task, split)
    own = [task.pairs.id[row] for row in task.rows(split)]
    names = {"text": own, "molecules": own, "pool": task.molecules.id}
    for name, queries, candidates, targets in _readings(task, split):
        if name in rankings:
            place = Path(folder) / name.replace("/", "-").replace(ANY, "-any-right-one")
            sides, ids = (vectors[queries], vectors[candidates]), (names[queries], names[candidates])
            export_trec(place, sides, targets, query_ids=ids[0], candidate_ids=ids[1])


def search_molecules(backbone: Backbone, task: Task, text: str, top: int) -> list[tuple[int, float]]:
    """The `top` molecules of the pool of all for a free text, as (row, cosine), best first, each molecule once."""
    query = encode(backbone, "text", read_texts([text], backbone.inputs.text, task.encoders["text"]))
    pool = encode(backbone, "molecules", task.inputs("pool", backbone.inputs.molecules))
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
        As `embed_text` and `embed_molecules`, or where the numbers of texts and SMILES differ.
    """
    if len(texts) != len(smiles):
        raise InputError(f"{len(texts)} texts and {len(smiles)} SMILES: expected equal numbers")
    needs = backbone.inputs
    t = encode(backbone, "text", read_texts(texts, needs.text, task.encoders["text"], cache=True))
    m = encode(backbone, "molecules", read_molecules(smiles, needs.molecules, task.encoders, cache=True))
    t, m = (unit_rows(x.astype(np.float64)) for x in (t, m))
    return np.asarray((t * m).sum(axis=1))


def first_molecules(backbone: Backbone, task: Task, split: str) -> np.ndarray:
    """The molecule that is ranked first for each text of a split, `(Q,)` int64 positions in the split."""
    return search(*split_vectors(backbone, task, split), 1)[0][:, 0]


def pair_ranks(backbone: Backbone, task: Task) -> np.ndarray:
    """Expected rank of each training pair among all of them, the mean of both directions, `(L_train,)` float64."""
    return np.asarray(both_ways(backbone, task, "train", "mean_rank").mean(axis=0))


def pair_losses(backbone: Backbone, task: Task, batch_size: int, seed: int, split: str = "train") -> np.ndarray:
    """Loss of each pair of a split in evaluation mode, in random batches of the training's size, `(L,)` float64.

    The sum of the terms that have one value per pair.

    Raises
    ------
    InputError
        The backbone has no such term.
    """
    import torch

    from class_kit.training.loop import measure_losses

    text, molecules = split_inputs(backbone, task, split)
    device = next(backbone.parameters()).device
    backbone.eval()

    def losses(rows: np.ndarray) -> dict[str, torch.Tensor]:
        return backbone.losses(text.take(rows, device), molecules.take(rows, device))

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return measure_losses(losses, len(text), batch_size, seed)


def pair_errors(backbone: Backbone, task: Task, batch_size: int, seed: int, split: str = "train") -> np.ndarray:
    """EL2N of each pair of a split, the mean of both directions, in the batches of `pair_losses`, `(L,)` float64.

    The length of softmax(cosine / temperature) − one-hot over the batch's candidates (Paul, Ganguli, Dziugaite 2021,
    section 2), between 0 and √2. The temperature is the one that the backbone has learnt, or 0.07 where it learns
    none. Every backbone compares by cosine, so the measure is the same for all of them.
    """
    from class_kit.training.loop import random_batches

    a, b = (unit_rows(vectors.astype(np.float64)) for vectors in split_vectors(backbone, task, split))
    factor = _factor(backbone)
    found = np.empty(len(a))
    for rows in random_batches(len(a), batch_size, seed):
        logits, own = factor * (a[rows] @ b[rows].T), np.arange(len(rows))
        found[rows] = (el2n(logits, own) + el2n(logits.T, own)) / 2
    return found


def _factor(backbone: Backbone) -> float:
    """What the backbone multiplies cosines by before a softmax."""
    import torch

    from class_kit.backbones.layers import Scale

    for part in backbone.modules():
        if isinstance(part, Scale):
            with torch.no_grad():
                return float(part(torch.ones_like(part.log_scale)))
    return 1 / TEMPERATURE


def full_scores(
    backbone: Backbone, text: Inputs, molecules: Inputs, *, swap: bool = False
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """The full score of a backbone that reranks, as a function of n query rows and n candidate rows, `(n,)`.

    In the shortlists of all queries each text and molecule occurs many times, so what the score needs of it
    (`Backbone.pair_parts`) is encoded when its row is first needed, and kept.

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
        """The encoded parts of each row."""
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


def _sides(backbone: Backbone, task: Task, split: str) -> tuple[dict[str, Inputs], dict[str, np.ndarray]]:
    """Texts and molecules of a split, and the pool of all molecules: what the backbone reads, and its vectors."""
    inputs = dict(zip(("text", "molecules"), split_inputs(backbone, task, split), strict=True))
    inputs["pool"] = task.inputs("pool", backbone.inputs.molecules)
    sides = inputs.items()
    return inputs, {name: encode(backbone, "text" if name == "text" else "molecules", side) for name, side in sides}
