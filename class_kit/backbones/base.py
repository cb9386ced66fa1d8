"""What every backbone is: two encoders into one space, and losses by name."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Backbone(nn.Module, ABC):
    """Two encoders into one space, scored by cosine, and the losses that train them.

    Subclasses take `(text_dim, molecule_dim, **options)`; all options have defaults and are plain literals, so that
    a configuration file can name them.
    """

    def fit_inputs(self, text: Tensor, molecules: Tensor) -> None:
        """See the training inputs once before training, to record scales; nothing by default.

        Parameters
        ----------
        text : (L, d_t)
        molecules : (L, d_m)
        """

    @abstractmethod
    def encode_text(self, text: Tensor) -> Tensor:
        """Vectors `(B, d)` for text inputs `(B, d_t)`; compared by cosine."""

    @abstractmethod
    def encode_molecules(self, molecules: Tensor) -> Tensor:
        """Vectors `(B, d)` for molecule inputs `(B, d_m)`; compared by cosine."""

    @abstractmethod
    def losses(self, text: Tensor, molecules: Tensor, *, not_negative: Tensor | None = None) -> dict[str, Tensor]:
        """Named scalar losses of a batch whose i-th text describes its i-th molecule.

        Parameters
        ----------
        text : (B, d_t)
        molecules : (B, d_m)
        not_negative : (B, B) bool, optional
            Pairs that must not be pushed apart although they do not belong together (near-duplicates). The diagonal
            is ignored.
        """
