"""What a training reads, batch by batch: vectors, tokens, token numbers or graphs behind one small interface.

The loop and the evaluation ask for rows and get what the backbone takes, on its device. Vectors lie there once and for
all; tokens and graphs, too large for that, are put together anew for every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from class_kit.backbones.base import GraphBatch, IdBatch, MoleculeBatch, TextBatch, TokenBatch
from class_kit.checks import check_whole
from class_kit.errors import InputError
from class_kit.ragged import check_rows
from class_kit.store import digest_of

if TYPE_CHECKING:
    from class_kit.molecules.graphs import MoleculeGraphs
    from class_kit.text.ids import TextIds
    from class_kit.text.tokens import TextTokens

# enough to know means, deviations and principal axes by; a backbone is fitted on it in one batch
FIT_ROWS = 2_048


@runtime_checkable
class Inputs(Protocol):
    """One side of L pairs, or a pool of candidates, ready to be taken in batches.

    Attributes
    ----------
    kind : "vector", "tokens", "ids" or "graph"
    width : int
        Of the vectors, of the tokens, of what an encoder makes of token numbers, or of the atoms: what a backbone
        takes as `text_dim` or `molecule_dim`.
    digest : str
        64 hexadecimal characters, other for other content.
    """

    kind: ClassVar[str]

    @property
    def width(self) -> int: ...

    @property
    def digest(self) -> str: ...

    def __len__(self) -> int: ...

    def take(self, rows: np.ndarray, device: torch.device | str) -> TextBatch | IdBatch | MoleculeBatch:
        """The batch of these rows, in their order, on a device."""

    def subset(self, rows: np.ndarray) -> Inputs:
        """These rows as inputs of their own."""

    def sample(self, most: int = FIT_ROWS, seed: int = 0) -> np.ndarray:
        """Ascending rows for `Backbone.fit_inputs`: all of them for vectors, at most `most` by the seed otherwise."""


class VectorInputs:
    """Vectors `(L, d)`, copied to the device when a batch is first taken there.

    Parameters
    ----------
    vectors : (L, d) real numbers
        L and d at least 1. Values are not looked at: what is not finite shows in the losses.

    Raises
    ------
    InputError
        The array is not such a matrix.
    """

    kind: ClassVar[str] = "vector"

    def __init__(self, vectors: np.ndarray) -> None:
        found = np.asarray(vectors)
        if found.ndim != 2 or not found.size or found.dtype.kind not in "fiub":
            raise InputError(
                f"vectors of shape {found.shape} and type {found.dtype}: expected a non-empty matrix of real numbers"
            )
        self._vectors = np.asarray(found, np.float32)
        self._moved: Tensor | None = None

    @property
    def width(self) -> int:
        return int(self._vectors.shape[1])

    @cached_property
    def digest(self) -> str:
        return digest_of(vectors=self._vectors)

    def __len__(self) -> int:
        return len(self._vectors)

    def take(self, rows: np.ndarray, device: torch.device | str) -> Tensor:
        """Vectors `(B, d)` float32."""
        chosen = torch.from_numpy(check_rows(rows, len(self))).to(device)
        if self._moved is None or self._moved.device != chosen.device:
            # Copied: cached and shared arrays are read-only, which tensors cannot be.
            self._moved = torch.tensor(self._vectors, device=device)
        return self._moved[chosen]

    def subset(self, rows: np.ndarray) -> VectorInputs:
        """These rows as inputs of their own."""
        return VectorInputs(self._vectors[check_rows(rows, len(self))])

    def sample(self, most: int = FIT_ROWS, seed: int = 0) -> np.ndarray:
        """All rows: a mean over vectors that lie in memory costs nothing."""
        return np.arange(len(self))


class TokenInputs:
    """Texts as tokens, from `class_kit.text.tokens.text_tokens`."""

    kind: ClassVar[str] = "tokens"

    def __init__(self, tokens: TextTokens) -> None:
        self._source = tokens

    @property
    def width(self) -> int:
        return self._source.width

    @property
    def digest(self) -> str:
        return self._source.digest

    def __len__(self) -> int:
        return len(self._source)

    def take(self, rows: np.ndarray, device: torch.device | str) -> TokenBatch:
        """Sentence vectors, tokens and mask."""
        arrays = self._source.take(rows)
        return TokenBatch(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})

    def subset(self, rows: np.ndarray) -> TokenInputs:
        """These rows as inputs of their own; the tokens themselves are shared."""
        return TokenInputs(self._source.subset(rows))

    def sample(self, most: int = FIT_ROWS, seed: int = 0) -> np.ndarray:
        """At most `most` rows, ascending, drawn by the seed."""
        return _sampled(len(self), most, seed)


class IdInputs:
    """Texts as token numbers, from `class_kit.text.ids.text_ids`, for an encoder that is trained."""

    kind: ClassVar[str] = "ids"

    def __init__(self, ids: TextIds) -> None:
        self._source = ids

    @property
    def width(self) -> int:
        return self._source.width

    @property
    def digest(self) -> str:
        return self._source.digest

    def __len__(self) -> int:
        return len(self._source)

    def take(self, rows: np.ndarray, device: torch.device | str) -> IdBatch:
        """Token numbers, and which of them are padding or special."""
        moved = {name: torch.from_numpy(array).to(device) for name, array in self._source.take(rows).items()}
        return IdBatch(**moved, encoder=self._source.encoder)

    def subset(self, rows: np.ndarray) -> IdInputs:
        """These rows as inputs of their own; the numbers themselves are shared."""
        return IdInputs(self._source.subset(rows))

    def sample(self, most: int = FIT_ROWS, seed: int = 0) -> np.ndarray:
        """At most `most` rows, ascending, drawn by the seed."""
        return _sampled(len(self), most, seed)


class GraphInputs:
    """Molecules as graphs, from `class_kit.molecules.graphs.molecule_graphs`.

    The vectors of the kinds of atoms lie on the device; what a batch brings there are numbers of kinds, and bonds.
    """

    kind: ClassVar[str] = "graph"

    def __init__(self, graphs: MoleculeGraphs) -> None:
        self._source = graphs
        self._kinds: Tensor | None = None

    @property
    def width(self) -> int:
        return self._source.width

    @property
    def digest(self) -> str:
        return self._source.digest

    def __len__(self) -> int:
        return len(self._source)

    def take(self, rows: np.ndarray, device: torch.device | str) -> GraphBatch:
        """One disconnected graph of atoms, bonds and motifs."""
        arrays = self._source.layout(rows)
        size = int(arrays.pop("size"))
        moved = {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}
        kind = moved.pop("atom_kind")
        if self._kinds is None or self._kinds.device != kind.device:
            self._kinds = torch.tensor(self._source.kinds, device=device)
        return GraphBatch(atoms=self._kinds[kind], **moved, size=size)

    def subset(self, rows: np.ndarray) -> GraphInputs:
        """These rows as inputs of their own; the graphs themselves are shared."""
        return GraphInputs(self._source.subset(rows))

    def sample(self, most: int = FIT_ROWS, seed: int = 0) -> np.ndarray:
        """At most `most` rows, ascending, drawn by the seed."""
        return _sampled(len(self), most, seed)


def as_inputs(values: Any) -> Inputs:
    """Inputs of any kind: a matrix, `TextTokens`, `TextIds` and `MoleculeGraphs` are wrapped, `Inputs` stay.

    Raises
    ------
    InputError
        `values` is nothing that can be taken in batches.
    """
    from class_kit.molecules.graphs import MoleculeGraphs
    from class_kit.text.ids import TextIds
    from class_kit.text.tokens import TextTokens

    if isinstance(values, TextTokens):
        return TokenInputs(values)
    if isinstance(values, TextIds):
        return IdInputs(values)
    if isinstance(values, MoleculeGraphs):
        return GraphInputs(values)
    if isinstance(values, np.ndarray):
        return VectorInputs(values)
    if isinstance(values, Inputs):
        return values
    raise InputError(f"inputs are {type(values).__name__}: expected a matrix, text tokens or molecule graphs")


def query_inputs(texts: Sequence[str], kind: str, encoder: str) -> Inputs:
    """Texts of no table, such as what someone searches for, as a backbone reads them; nothing is cached.

    Parameters
    ----------
    texts, encoder
        As `embed_text` takes them.
    kind : "sentence", "tokens" or "ids"
        What the backbone needs (`Needs.text`).

    Raises
    ------
    InputError, TypeError
        As `embed_text`.
    """
    if kind == "ids":
        from class_kit.text.ids import text_ids

        return IdInputs(text_ids(texts, encoder))
    if kind == "tokens":
        from class_kit.text.tokens import text_tokens

        return TokenInputs(text_tokens(texts, encoder, cache=False, progress=False))
    from class_kit.text import embed_text

    return VectorInputs(embed_text(texts, encoder, cache=False, progress=False))


def fit_rows(text: Inputs, molecules: Inputs, seed: int = 0) -> np.ndarray:
    """Rows of both sides for `Backbone.fit_inputs`: all where both are vectors, at most 2,048 by the seed otherwise.

    Raises
    ------
    InputError
        The sides differ in length.
    """
    if len(text) != len(molecules):
        raise InputError(f"{len(text)} texts and {len(molecules)} molecules: expected as many of both")
    return min(text.sample(seed=seed), molecules.sample(seed=seed), key=len)


def _sampled(count: int, most: int, seed: int) -> np.ndarray:
    check_whole("most", most, low=1)
    check_whole("seed", seed, low=0)
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))
