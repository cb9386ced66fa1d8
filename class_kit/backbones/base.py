"""What every backbone is: two encoders into one space, and losses by name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Texts as their encoder reads them: a sentence vector and a vector for every token.

    Attributes
    ----------
    sentence : (B, d_t)
        What `embed_text` gives.
    tokens : (B, T, d_t)
        Last hidden states, the special tokens left out; zero where `mask` is False.
    mask : (B, T) bool
        True for tokens, False for padding. A text has at least one token.
    """

    sentence: Tensor
    tokens: Tensor
    mask: Tensor

    def __len__(self) -> int:
        return len(self.sentence)


@dataclass(frozen=True, eq=False)
class IdBatch:
    """Texts as token ids, padded at the end: for a text encoder that is part of the model.

    Attributes
    ----------
    ids : (B, T) int64
    real : (B, T) bool
        False for padding.
    own : (B, T) bool
        True for tokens of the text itself, False for special tokens and padding. A text has at least one.
    encoder : str
        Digest of the encoder whose ids these are.
    """

    ids: Tensor
    real: Tensor
    own: Tensor
    encoder: str

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor) -> IdBatch:
        """These rows, as wide as the longest of them."""
        real = self.real[rows]
        width = int(real.sum(1).max())
        return IdBatch(self.ids[rows, :width], real[:, :width], self.own[rows, :width], self.encoder)


@dataclass(frozen=True, eq=False)
class GraphBatch:
    """Molecules as graphs of atoms, bonds and motifs, in one disconnected graph.

    Attributes
    ----------
    atoms : (A, d_a)
        Sum of the Mol2vec vectors of each atom's words (radius 0 and 1), so that the atoms of a molecule sum to its
        Mol2vec vector.
    atom_molecule : (A,) int64
        The molecule of each atom, ascending, 0 … B - 1. A molecule has at least one atom.
    bonds : (2, E) int64
        Each bond in both directions, source above target; E may be 0.
    bond_features : (E, d_b)
        See `class_kit.molecules.graphs.BOND_FEATURES`.
    motif_atoms : (2, K) int64
        Membership: atom above motif. Every atom is in at least one motif; ring-fusion atoms are in several.
    motif_molecule : (M,) int64
        The molecule of each motif, ascending.
    size : int
        B, the number of molecules.
    """

    atoms: Tensor
    atom_molecule: Tensor
    bonds: Tensor
    bond_features: Tensor
    motif_atoms: Tensor
    motif_molecule: Tensor
    size: int

    def __len__(self) -> int:
        return self.size


@dataclass(frozen=True)
class Needs:
    """What a backbone reads on each side.

    Attributes
    ----------
    text : "sentence", "tokens" or "ids"
        (B, d_t) vectors, a `TokenBatch`, or an `IdBatch` for a text encoder that is part of the model.
    molecules : "vector" or "graph"
        (B, d_m) vectors, or a `GraphBatch`.
    """

    text: str = "sentence"
    molecules: str = "vector"


TextBatch = Tensor | TokenBatch
MoleculeBatch = Tensor | GraphBatch


class Backbone(nn.Module, ABC):
    """Two encoders into one space, scored by cosine, and the losses that train them.

    Subclasses take `(text_dim, molecule_dim, **options)`; all options have defaults and are plain literals, so that
    a configuration file can set them. `text_dim` is the width of sentence and token vectors; `molecule_dim` that of
    molecule vectors, or of atoms if the backbone needs graphs.

    A backbone with an adversary lists the adversary's parameters in `critic_parameters`. They get an optimiser of their
    own (Adam with β₁ = 0.5, as is usual for critics), which takes `critic_steps` steps of `critic_learning_rate` on
    `critic_losses` before each step of the rest. A backbone that also scores a text and a molecule jointly sets
    `reranks`: `encode_*` rank the whole pool, and `part_scores` rerank the best candidates.

    `inputs` is what an instance reads; `create_backbone` sets it from `needs`. `source` is the class's own source;
    `register_backbone` sets it, and stored trainings are those of this source.
    """

    inputs: Needs = Needs()
    source: str = ""
    critic_steps: int = 1
    critic_learning_rate: float = 1e-4
    reranks: bool = False

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        """Which inputs a backbone reads, given all its options; vectors on both sides by default."""
        return Needs()

    def fit_inputs(self, text: Any, molecules: Any) -> None:
        """Called once before training, to record scales or fit parts that are not trained; does nothing by default.

        Parameters
        ----------
        text, molecules
            Batches of the kinds that `needs` names, row for row: all training pairs where both are vectors, a seeded
            sample of at most 2,048 otherwise.
        """

    @abstractmethod
    def encode_text(self, text: Any) -> Tensor:
        """Vectors `(B, d)` of texts, compared by cosine."""

    @abstractmethod
    def encode_molecules(self, molecules: Any) -> Tensor:
        """Vectors `(B, d)` of molecules, compared by cosine."""

    @abstractmethod
    def losses(self, text: Any, molecules: Any, *, not_negative: Tensor | None = None) -> dict[str, Tensor]:
        """Named losses of a batch whose i-th text describes its i-th molecule.

        A term that is a mean over pairs is returned as one loss per pair, `(B,)`, so that a plan can weight pairs and
        record their losses; any other term is a scalar.

        Parameters
        ----------
        text, molecules
            Batches of B pairs.
        not_negative : (B, B) bool, optional
            Near-duplicates, which are not to be used as negatives. The diagonal is ignored.
        """

    def parameter_rates(self) -> list[tuple[Iterable[nn.Parameter], float]]:
        """Parameters with a peak learning rate of their own, such as a text encoder's; none by default."""
        return []

    def critic_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters trained by `critic_losses` and not by `losses`; none by default."""
        return ()

    def critic_losses(self, text: Any, molecules: Any) -> dict[str, Tensor]:
        """Named scalar losses of the adversary; none by default."""
        return {}

    def pair_parts(self, side: str, batch: Any) -> list[Any]:
        """The inputs of the full score for each row of a batch; `side` is "text" or "molecules".

        Each is a tuple of tensors, encoded once for all pairs with that row.
        """
        raise NotImplementedError(f"{type(self).__name__} scores by cosine alone")

    def part_scores(self, texts: Sequence[Any], molecules: Sequence[Any]) -> Tensor:
        """Full scores `(B,)` of aligned pairs, given their `pair_parts`; higher is closer."""
        raise NotImplementedError(f"{type(self).__name__} scores by cosine alone")


class TwoTowers(Backbone):
    """A tower for each side, and losses of their vectors.

    Subclasses set `text_tower` and `molecule_tower`, modules with outputs `(B, d)`, and define `terms`. A tower with a
    method `fit`, such as `class_kit.backbones.layers.Tower`, records the scale of its inputs there.
    """

    text_tower: Any
    molecule_tower: Any

    def fit_inputs(self, text: Any, molecules: Any) -> None:
        """Record the scales of the towers' inputs, which are saved with the weights."""
        for tower, inputs in ((self.text_tower, text), (self.molecule_tower, molecules)):
            if hasattr(tower, "fit"):
                tower.fit(inputs)

    def encode_text(self, text: Any) -> Tensor:
        """Vectors `(B, d)` of the text tower."""
        return self.text_tower(text)

    def encode_molecules(self, molecules: Any) -> Tensor:
        """Vectors `(B, d)` of the molecule tower."""
        return self.molecule_tower(molecules)

    def losses(self, text: Any, molecules: Any, *, not_negative: Tensor | None = None) -> dict[str, Tensor]:
        """The `terms` of both sides' vectors."""
        return self.terms(self.encode_text(text), self.encode_molecules(molecules), not_negative)

    @abstractmethod
    def terms(self, t: Tensor, m: Tensor, not_negative: Tensor | None) -> dict[str, Tensor]:
        """Named losses of texts `(B, d)` and the molecules `(B, d)` that they describe."""


def no_negatives(scores: Tensor, not_negative: Tensor | None) -> Tensor:
    """Which entries of `scores` `(B, B)` are not negatives, bool: the diagonal and those of `not_negative`."""
    eye = torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    return eye if not_negative is None else eye | not_negative


def in_batch_cross_entropy(logits: Tensor, not_negative: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Both directions of the in-batch cross-entropy, one loss per pair each: rows of `logits`, then columns.

    Parameters
    ----------
    logits : (B, B)
        Row i, column j: text i and molecule j, including the scale.
    not_negative : (B, B) bool, optional
        Entries left out of the denominators; the diagonal stays.

    Returns
    -------
    tuple of (B,), (B,)
    """
    # an empty mask would change the last bits of the gradients
    if not_negative is not None:
        logits = logits.masked_fill(no_negatives(logits, not_negative).fill_diagonal_(False), -torch.inf)
    labels = torch.arange(len(logits), device=logits.device)
    rows = nn.functional.cross_entropy(logits, labels, reduction="none")
    return rows, nn.functional.cross_entropy(logits.T, labels, reduction="none")


def both_directions(losses: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """Losses of rows and of columns as the terms `text_to_molecule` and `molecule_to_text`."""
    return dict(zip(("text_to_molecule", "molecule_to_text"), losses, strict=True))
