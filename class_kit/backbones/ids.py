"""Texts as token numbers: what a backbone reads whose text encoder is part of it."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class IdBatch:
    """Texts as numbers of tokens, padded at the end.

    Attributes
    ----------
    ids : (B, T) int64
    real : (B, T) bool
        False for padding.
    own : (B, T) bool
        True for tokens of the text itself, False for special tokens and padding. A text has at least one.
    encoder : str
        Digest of the encoder whose numbers these are.
    """

    ids: Tensor
    real: Tensor
    own: Tensor
    encoder: str

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Tensor) -> IdBatch:
        """These rows, no wider than the longest of them needs."""
        real = self.real[rows]
        width = int(real.sum(1).max())
        return IdBatch(self.ids[rows, :width], real[:, :width], self.own[rows, :width], self.encoder)
