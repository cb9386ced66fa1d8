"""The page on which every measure of difficulty stands: held-out pairs measured, set against ranks, said in words.

Neighbours in the training set are what a curriculum knows. Neighbours in the pool are rivals of the answer whatever
was trained, so they are counted apart and take no part in the question which measure goes furthest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from class_kit.difficulty.measures import MEASURES, difficulty
from class_kit.difficulty.prediction import heldout_counts, measure_vs_rank
from class_kit.errors import InputError

TRAIN, POOL, PAIR, MODEL = "train", "pool", "pair", "model"
PAPER = "neighbours"
_LABELS = {
    PAPER: "N, σ = {sigma:.2f}",
    "neighbours_weighted": "N, text weighs {weight:g}",
    "neighbours_text": "N by text",
    "neighbours_molecule": "N by molecule",
    "neighbours_min": "N by both (min)",
    "neighbours_max": "N by either (max)",
    "neighbours_tanimoto": "N by Tanimoto",
    "kth_distance": "closeness, k = {k}",
    "description_length": "length of the text",
    "loss": "loss, other model",
    "rank": "rank, other model",
    "el2n": "EL2N, other model",
}

Found = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class HeldOut:
    """One measure of the held-out pairs.

    `counted_in` is "train" or "pool" where it looks at other pairs, "pair" where it looks at the pair alone, and
    "model" where it repeats what another model says of the pair in the pool.
    """

    name: str
    label: str
    counted_in: str
    values: np.ndarray


def heldout_measures(
    held: Mapping[str, Any], known: Mapping[str, Any], sigmas: Sequence[float], *, weight: float = 0.75, k: int = 10
) -> list[HeldOut]:
    """Every measure of held-out pairs; those that look at other pairs twice, in the training set and in the pool.

    Parameters
    ----------
    held : t, m, text, smiles of the Q held-out pairs, among which they are ranked, and what another model says of
        them (loss, el2n, rank) where that is wanted, as `difficulty` takes them.
    known : t, m, text, smiles of the training pairs.
    sigmas : thresholds of the paper's count; the other counts take the first of them.
    weight : share of the text in the weighted count, in [0, 1].
    k : which neighbour's distance, from 1.

    Returns the paper's count in the training set first. Measures whose fields `held` does not name are left out.
    Raises ValueError as `difficulty`.
    """
    if not len(sigmas):
        raise InputError("sigmas is empty: at least one threshold expected")
    set_to = {"weight": weight, "k": k}
    found = []
    for sigma in sigmas:
        label = _LABELS[PAPER].format(sigma=sigma)
        own = held["t"], held["m"]
        counts = heldout_counts(*own, sigma, train=(known["t"], known["m"]), pool=own)
        found += [HeldOut(PAPER, label, where, values) for where, values in counts.items()]
    for name, measure in MEASURES.items():
        if name == PAPER or any(held.get(field) is None for field in measure.needs):
            continue
        label = _LABELS.get(name, name.replace("_", " ")).format(**set_to)
        given = {**held, "sigma": sigmas[0], "k": k}
        # the share is that measure's own question; the others stay at the paper's half
        if name == "neighbours_weighted":
            given["weight"] = weight
        places = {TRAIN: known, POOL: None} if measure.looks_around else {MODEL if measure.asks_model else PAIR: None}
        for where, reference in places.items():
            found.append(HeldOut(name, label, where, difficulty(name, reference=reference, **given)))
    return sorted(found, key=lambda one: (TRAIN, PAIR, POOL, MODEL).index(one.counted_in))


def set_against_rank(measured: Sequence[HeldOut], ranks: Any, **options: Any) -> list[dict[str, Any]]:
    """`measure_vs_rank` of all of them, as rows of plain values.

    Keys: name, measure (its label), counted_in, rho, low, high, pairs, distinct. `options` as of `measure_vs_rank`.
    """
    labelled = {f"{one.label}, {one.counted_in}": one.values for one in measured}
    return [
        {"name": one.name, **vars(found), "measure": one.label, "counted_in": one.counted_in}
        for one, found in zip(measured, measure_vs_rank(labelled, ranks, **options), strict=True)
    ]


def answer_words(found: Found) -> list[str]:
    """What the rows of `set_against_rank` say, in Markdown: one sentence or two for each question, no number typed."""
    ordered = [row for row in found if row["rho"] is not None]
    here = {where: [row for row in ordered if row["counted_in"] == where] for where in (TRAIN, PAIR, POOL, MODEL)}
    paper = {where: [row for row in here[where] if row["name"] == PAPER] for where in (TRAIN, POOL)}
    said = []
    if paper[TRAIN]:
        said.append(f"**N counted in the training set:** {_listed(paper[TRAIN])}. {_meaning(paper[TRAIN])}")
    if candidates := [*here[TRAIN], *here[PAIR]]:
        best = max(candidates, key=lambda row: abs(row["rho"]))
        place = ", counted in the training set," if best["counted_in"] == TRAIN else ""
        said.append(
            f"**Of the {len(candidates)} measures that know nothing of the pool**, *{best['measure']}*{place} goes "
            f"furthest with the rank: {_value(best, bold=True)}. {_meaning([best])}"
        )
    if paper[POOL]:
        said.append(
            f"**N counted in the pool:** {_listed(paper[POOL])}. {_meaning(paper[POOL])} A neighbour there is one more "
            "rival whatever was trained, so these rows took no part in the choice above."
        )
    if here[MODEL]:
        said.append(f"**Another model of the same kind**, trained with another seed: {_listed(here[MODEL])}.")
    if constant := [row for row in found if row["rho"] is None]:
        names = ", ".join(f"{row['measure']} ({row['counted_in']})" for row in constant)
        said.append(f"The same for every pair, so without a correlation: {names}.")
    return said


def answer_table(found: Found) -> list[str]:
    """The rows of `set_against_rank` as lines of a Markdown table, one measure a line."""
    columns = (TRAIN, POOL, "")
    lines = ["| measure | neighbours in the training set | in the pool | without neighbours |", "|---|---|---|---|"]
    for label in dict.fromkeys(row["measure"] for row in found):
        rows = [row for row in found if row["measure"] == label]
        own = {row["counted_in"] if row["counted_in"] in columns else "": row for row in rows}
        lines.append(f"| {label} | " + " | ".join(_value(own[key]) if key in own else "" for key in columns) + " |")
    return lines


def answer_page(results: Mapping[str, Any]) -> str:
    """What was asked of whom, the table and the sentences, in Markdown.

    `results` are those that notebook 2 records: `prediction`, the rows of `set_against_rank`; `training_pairs`; and
    under `predicted` what was held out and how the retriever was trained.
    """
    ran, found = results["predicted"], results["prediction"]
    lines = [
        f"*Which of these predicts the rank that a trained retriever gives a pair?* Asked of {ran['held_out_pairs']:,} "
        f"held-out pairs of {ran['pairs']} (text vectors {ran['text_encoder']}, Mol2vec vectors {ran['vectors']}), "
        f"ranked text→molecule among {ran['pool']:,} by heads trained for {ran['epochs']} epochs on "
        f"{results['training_pairs']:,} pairs ({ran['note']}). Spearman's ρ with its 95 % bootstrap interval; above 0, "
        f"what counts as harder is ranked worse. Counts that name no σ take σ = {ran['sigmas'][0]:.2f}.",
        "",
        *answer_table(found),
        "",
        *(f"- {said}" for said in answer_words(found)),
    ]
    return "\n".join(lines)


def _value(row: Mapping[str, Any], *, bold: bool = False) -> str:
    if row["rho"] is None:
        return "the same for all"
    mark = "**" if bold else ""
    interval = "no interval" if row["low"] is None else f"{row['low']:+.2f} to {row['high']:+.2f}"
    return f"{mark}{row['rho']:+.2f}{mark} ({interval})"


def _listed(rows: Found) -> str:
    return "; ".join(f"{row['measure']}: {_value(row, bold=True)}" for row in rows)


def _meaning(rows: Found) -> str:
    """What the signs say: only intervals that leave out zero have one."""
    worse = sum(row["low"] is not None and row["low"] > 0 for row in rows)
    better = sum(row["high"] is not None and row["high"] < 0 for row in rows)
    unclear = len(rows) - worse - better
    if unclear == len(rows):
        return f"{'It' if len(rows) == 1 else 'None of these'} cannot be told from zero."
    parts = []
    for count, word in ((worse, "worse"), (better, "better, against the measure's own reading")):
        if count:
            share = "" if count == len(rows) else f"for {count} of {len(rows)}, "
            parts.append(f"{share}what counts as harder is ranked {word}")
    if unclear:
        parts.append(f"{unclear} of {len(rows)} cannot be told from zero")
    said = "; ".join(parts)
    return said[0].upper() + said[1:] + "."
