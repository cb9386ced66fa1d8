"""A task: pairs with their vectors and splits, ready for difficulty, training and evaluation.

Notebooks, the command line and studies all start from a task, so that they mean the same rows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from class_kit.checks import check_real, check_whole
from class_kit.curriculum.randomness import FRACTION, NOISE, shuffle_rows
from class_kit.errors import InputError
from class_kit.inputs import Inputs, as_inputs
from class_kit.molecules.structures import read_molecule
from class_kit.options import TaskOptions
from class_kit.pairs import PairSet, load_molecules, load_pairs, pool_targets
from class_kit.pairs.pairset import GIVEN
from class_kit.terminal import one_line


@dataclass(frozen=True, eq=False)
class Task:
    """Pairs, their vectors, and the pool of all molecules; tasks of equal content are equal.

    Attributes
    ----------
    pairs : PairSet of L pairs
    t : (L, d_t) float32
        Text vectors.
    m : (L, d_m) float32
        Molecule vectors.
    molecules : PairSet
        The pool "all": every molecule of the collection, those of other splits included.
    pool : (P, d_m) float32
        Vectors of that pool.
    encoders : mapping
        Names of the encoders, for records and titles.
    exchanged : (L,) bool, optional
        Pairs whose molecules `exchange_molecules` exchanged on purpose; None if it was not used.
    """

    pairs: PairSet
    t: np.ndarray
    m: np.ndarray
    molecules: PairSet
    pool: np.ndarray
    encoders: dict[str, str]
    exchanged: np.ndarray | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Task) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def rows(self, split: str) -> np.ndarray:
        """Row numbers of a split, `(L_split,)` int64, in file order; an error lists the splits."""
        rows = np.flatnonzero(np.asarray(self.pairs.split) == split)
        if not len(rows):
            raise InputError(f"split={split!r}: expected one of {', '.join(sorted(set(self.pairs.split)))}")
        return rows

    @property
    def evaluation_split(self) -> str:
        """`test`, else `validation`, else `train`."""
        for name in ("test", "validation", "train"):
            if name in self.pairs.split:
                return name
        raise InputError(f"splits {sorted(set(self.pairs.split))}: expected test, validation or train among them")

    def targets(self, split: str) -> np.ndarray:
        """Positions of the molecules of a split's pairs in the pool "all", `(L_split,)` int64."""
        rows = self.rows(split)
        if self.molecules is self.pairs:
            return rows
        return pool_targets(self.pairs.take(rows), self.molecules)

    def inputs(self, side: str, kind: str, rows: np.ndarray | None = None) -> Inputs:
        """One side as a backbone reads it, made when first used and kept; all, or these rows.

        Parameters
        ----------
        side : "text", "molecules" or "pool"
            Of the pairs, or the molecules of the pool "all".
        kind : str
            "sentence", "tokens" or "ids" of texts, "vector" or "graph" of molecules (`Needs`).
        """
        side = "molecules" if self.molecules is self.pairs and side == "pool" else side
        made: dict[tuple[str, str], Inputs] = self.__dict__.setdefault("_made", {})
        if (side, kind) not in made:
            if kind in ("sentence", "vector"):
                new = as_inputs({"text": self.t, "molecules": self.m, "pool": self.pool}[side])
            elif side == "text":
                new = read_texts(self.pairs.text, kind, self.encoders["text"], cache=True)
            else:
                pairs = self.molecules if side == "pool" else self.pairs
                new = read_molecules(pairs.smiles, kind, self.encoders, cache=True)
            made[side, kind] = new
        return made[side, kind] if rows is None else made[side, kind].subset(rows)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """A coarse class of each pair's molecule for colouring: the column `class`, else its rings."""
        column = self.pairs.extra.get("class")
        if column is None:
            return tuple(ring_class(text) for text in self.pairs.smiles)
        # a name stands in legends, tables and the records of figures
        return tuple(one_line(name, 60) for name in column)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over pairs and vectors: what a stored result of this task belongs to."""
        digest = hashlib.sha256(self.pairs.digest.encode())
        for array in (self.t, self.m, self.pool):
            digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def read_texts(texts: Sequence[str], kind: str, encoder: str, *, cache: bool = False) -> Inputs:
    """Texts as a backbone reads them, such as a search query.

    Parameters
    ----------
    texts, encoder
        As `embed_text` takes them.
    kind : "sentence", "tokens" or "ids"
        What the backbone needs (`Needs.text`).
    cache : bool
        Store and reuse results, and show a progress bar.

    Raises
    ------
    InputError, TypeError
        As `embed_text`.
    """
    from class_kit.text import embed_text, tokens

    if kind == "ids":
        return tokens.text_ids(texts, encoder)
    read = tokens.text_tokens if kind == "tokens" else embed_text
    return as_inputs(read(texts, encoder, cache=cache, progress=None if cache else False))


def read_molecules(smiles: Sequence[str], kind: str, encoders: Mapping[str, str], *, cache: bool = False) -> Inputs:
    """Molecules as a backbone reads them.

    Parameters
    ----------
    smiles
        As `embed_molecules` takes them.
    kind : "vector" or "graph"
        What the backbone needs (`Needs.molecules`).
    encoders
        Names of the encoder, `molecules`, and of the word vectors, `vectors`, as `Task.encoders` holds them.
    cache : bool
        Store and reuse results, and show a progress bar.

    Raises
    ------
    InputError
        As `embed_molecules`.
    """
    from class_kit.molecules import embed_molecules, graphs

    how: dict[str, Any] = {"vectors": encoders["vectors"], "cache": cache, "progress": None if cache else False}
    if kind == "graph":
        return graphs.molecule_graphs(smiles, **how)
    return as_inputs(embed_molecules(smiles, encoder=encoders["molecules"], **how))


def load_task(pairs: Any = "corpus", *, rejected_to: str | os.PathLike[str] | None = None, **options: Any) -> Task:
    """Load pairs, embed both sides (from the cache where possible) and gather the pool of all molecules.

    Parameters
    ----------
    pairs : str, path, or table in memory
        As of `load_pairs`.
    rejected_to : path, optional
        CSV file to which rejected rows are written.
    options
        The other fields of `class_kit.options.TaskOptions`: how to read the pairs, and which encoders to use. An empty
        string means "not given", so that notebook parameters stay plain. Published word vectors are looked up in the
        folder `data` first.

    Raises
    ------
    InputError
        An unknown option or a wrong value, and as `load_pairs`, `embed_text` and `embed_molecules`.
    """
    from class_kit.molecules import embed_molecules
    from class_kit.molecules.vectors import vectors_in
    from class_kit.text import embed_text

    given = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in options.items()}
    on_disk = isinstance(pairs, str | os.PathLike)
    chosen = TaskOptions(pairs=os.fspath(pairs) if on_disk else type(pairs).__name__, **given)
    loaded = load_pairs(chosen.pairs if on_disk else pairs, **chosen.reading, rejected_to=rejected_to)
    encoders = {"text": chosen.text_encoder, "molecules": chosen.molecule_encoder}
    encoders["vectors"] = vectors_in(chosen.vectors, chosen.data)
    vectors: dict[str, Any] = {"encoder": encoders["molecules"], "vectors": encoders["vectors"]}
    t = embed_text(loaded.text, encoder=chosen.text_encoder)
    m = embed_molecules(loaded.smiles, **vectors)
    molecules, pool = loaded, m
    if chosen.pairs == "chebi20":
        molecules = load_molecules("chebi20", data=chosen.data or None)
        pool = embed_molecules(molecules.smiles, **vectors)
    task = Task(loaded, t, m, molecules, pool, encoders)
    return exchange_molecules(task, chosen.noise, chosen.noise_seed) if chosen.noise else task


def exchange_molecules(task: Task, share: float, seed: int = 0) -> Task:
    """The task with mismatched pairs: the molecules of a random share of its training pairs, exchanged among them.

    Each chosen pair gets the molecule of another one. Validation, test and the pool stay as they are, and a note in
    `pairs.notes` says how many were exchanged. Which ones depends only on the number of training pairs, the share and
    the seed.

    Parameters
    ----------
    share : float
        In [0, 1], of the training pairs, rounded to whole pairs.
    seed : int
        Non-negative.

    Raises
    ------
    InputError
        A number out of range, or a share that amounts to a single pair.
    """
    rows = task.rows("train")
    count = round(check_real("noise", share, low=0.0, high=1.0) * len(rows))
    if count == 1:
        raise InputError(f"noise={share} of {len(rows)} training pairs is 1 pair: expected 0, or at least 2")
    chosen = rows[shuffle_rows(np.arange(len(rows)), len(rows), check_whole("noise_seed", seed, low=0), NOISE)[:count]]
    source = np.arange(len(task.pairs))
    # one cycle through all of them, so that none keeps its own
    source[chosen] = np.roll(chosen, 1)
    smiles = tuple(task.pairs.smiles[row] for row in source)
    # where molecules repeat, another pair's may be the same one
    exchanged = np.array([new != old for new, old in zip(smiles, task.pairs.smiles, strict=True)])
    note = (
        f"{exchanged.sum():,} of {len(rows):,} training pairs have another pair's molecule on purpose "
        f"(noise {share:g}, seed {seed})"
    )
    extra = dict(task.pairs.extra)
    if GIVEN in extra:
        extra[GIVEN] = tuple(extra[GIVEN][row] for row in source)
    pairs = replace(task.pairs, smiles=smiles, extra=extra, notes=(*task.pairs.notes, note))
    return replace(task, pairs=pairs, m=task.m[source], exchanged=exchanged)


def take_fraction(task: Task, fraction: float, seed: int = 0) -> Task:
    """The task with a random share of its training pairs, at least one; all else, the pool included, stays as it is.

    Smaller shares of one seed are part of larger ones.

    Raises
    ------
    InputError
        A number out of range: `fraction` in (0, 1], `seed` non-negative.
    """
    rows = task.rows("train")
    count = max(1, round(check_real("fraction", fraction, low=0, high=1, open_low=True) * len(rows)))
    left_out = shuffle_rows(np.arange(len(rows)), len(rows), check_whole("seed", seed, low=0), FRACTION)[count:]
    kept = np.delete(np.arange(len(task.pairs)), rows[left_out])
    exchanged = None if task.exchanged is None else task.exchanged[kept]
    return replace(task, pairs=task.pairs.take(kept), t=task.t[kept], m=task.m[kept], exchanged=exchanged)


def ask_across(trained: Task, asked: Task) -> Task:
    """Training pairs of one task with the held-out pairs, and the pool, of another.

    Raises
    ------
    InputError
        The tasks have other encoders, or the second one holds no pairs out.
    """
    if trained.encoders != asked.encoders:
        raise InputError(f"encoders {asked.encoders}: expected those of the training pairs, {trained.encoders}")
    if (split := asked.evaluation_split) == "train":
        raise InputError(f"{asked.pairs.source} has training pairs only: expected held-out ones")
    rows = trained.rows("train"), asked.rows(split)
    first, second = (task.pairs.take(own) for task, own in zip((trained, asked), rows, strict=True))
    columns = {name: getattr(first, name) + getattr(second, name) for name in ("text", "smiles", "id", "split")}
    t, m = (np.concatenate([getattr(trained, side)[rows[0]], getattr(asked, side)[rows[1]]]) for side in ("t", "m"))
    pairs = PairSet(**columns, source=f"{trained.pairs.source}, asked {asked.pairs.source}")
    return Task(pairs, t, m, asked.molecules, asked.pool, trained.encoders)


def ring_class(smiles: str) -> str:
    """A coarse class of a molecule by its rings, for pairs without a column `class`."""
    from rdkit.Chem.rdMolDescriptors import CalcNumAromaticRings, CalcNumRings

    molecule = read_molecule(smiles)
    if not CalcNumRings(molecule):
        return "no ring"
    return "aromatic rings" if CalcNumAromaticRings(molecule) else "saturated rings"
