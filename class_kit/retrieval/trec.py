"""A ranking in the files of TREC, so that other evaluators can check or compare it."""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import ArrayLike

from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.files import atomic_write, write_text
from class_kit.neighbours.nearest import nearest
from class_kit.retrieval.metrics import check_scores, check_targets, check_vectors

_ABOUT = """run.txt and qrels.txt are in the formats of TREC, which trec_eval, ranx and ir_measures read.

Listed are the {depth:,} best of {pool:,} candidates of each query, at equal score (to nine decimals) in the order of
the pool. What is not listed counts as not found.

Ties: trec_eval orders candidates of equal score by document id, the last first, and reads scores in single precision;
other programs have other rules. class_kit reports expectations over all orders of the tied, so numbers are equal where
nothing is tied.

Names: Hits@k of class_kit asks whether one of the right candidates is among the first k. ranx calls that hit_rate@k,
ir_measures Success@k, trec_eval success_k. For a query with a single right candidate it is Recall@k too.
"""


def export_trec(
    folder: str | os.PathLike[str],
    scores: ArrayLike | tuple[ArrayLike, ArrayLike],
    targets: ArrayLike | Sequence[Sequence[int]],
    *,
    query_ids: Sequence[str] | None = None,
    candidate_ids: Sequence[str] | None = None,
    depth: int = 1000,
    tag: str = "class_kit",
    progress: bool | None = None,
) -> tuple[Path, Path]:
    """Write a ranking as a TREC run and its right answers as qrels; a README beside them says how ties are broken.

    Parameters
    ----------
    folder : path
        Gets `run.txt`, `qrels.txt` and `README.txt`; is made if it is not there.
    scores : (Q, C) real, or (queries (Q, d), candidates (C, d))
        A matrix of scores, higher being better, or vectors that are compared by cosine.
    targets : (Q,) int, or Q sequences of int
        The right candidate of each query, or its right ones.
    query_ids, candidate_ids : sequences of str, optional
        Different names, (Q,) and (C,); what TREC's files cannot hold, such as blanks, is percent-encoded. Without them
        q0, q1, … and c0, c1, ….
    depth : int
        Candidates to list for each query, at least 1.
    tag : str
        Name of the run.

    Returns
    -------
    run, qrels : Path

    Raises
    ------
    InputError
        For shapes that do not fit, scores that are not finite, a target outside the pool, names that repeat, or a tag
        that is empty or holds blanks.
    """
    check_whole("depth", depth, low=1)
    if not tag.isascii() or not tag.isprintable() or not tag or " " in tag:
        raise InputError(f"tag={tag!r}: expected a name of ASCII characters without blanks")
    if isinstance(scores, tuple):
        if len(scores) != 2:
            raise InputError(f"scores is a tuple of {len(scores)}: expected queries and candidates, or a matrix")
        queries, candidates = check_vectors(*scores, ("queries", "candidates"))
        shape = len(queries), len(candidates)
        best, own = nearest(queries, candidates, min(depth, shape[1]), decimals=9, progress=progress, desc="export")
    else:
        matrix = check_scores(scores, "scores")
        shape = matrix.shape
        best = np.argsort(-matrix.astype(np.float64).round(9), axis=1, kind="stable")[:, :depth]
        own = np.take_along_axis(matrix, best, axis=1)
    query, goals = check_targets(targets, *shape)
    asked = _names(query_ids, "query_ids", shape[0], "q")
    listed = _names(candidate_ids, "candidate_ids", shape[1], "c")
    run, qrels = Path(folder) / "run.txt", Path(folder) / "qrels.txt"
    with atomic_write(run) as temporary, open(temporary, "w", encoding="ascii") as file:
        for name, rows, values in zip(asked, best, own, strict=True):
            for rank, (row, value) in enumerate(zip(rows, values, strict=True), start=1):
                file.write(f"{name} Q0 {listed[row]} {rank} {value:.9f} {tag}\n")
    write_text(qrels, "".join(f"{asked[q]} 0 {listed[row]} 1\n" for q, row in zip(query, goals, strict=True)))
    write_text(Path(folder) / "README.txt", _ABOUT.format(depth=best.shape[1], pool=shape[1]))
    return run, qrels


def _names(given: Sequence[str] | None, what: str, count: int, letter: str) -> list[str]:
    if given is None:
        return [f"{letter}{row}" for row in range(count)]
    kept = string.punctuation.replace("%", "")
    names = [quote(str(name), safe=kept, errors="surrogatepass") for name in given]
    if len(names) != count or len(set(names)) != count or "" in names:
        raise InputError(
            f"{what} has {len(names)} names, {len(set(names))} of them different: expected {count} different ones, "
            "none of them empty"
        )
    return names
