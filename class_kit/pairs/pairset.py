"""The pairs that every station of the kit takes, with a digest of their content."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from class_kit.errors import InputError
from class_kit.files import write_csv
from class_kit.pairs.splits import split_order
from class_kit.terminal import one_line

if TYPE_CHECKING:
    import datasets
    import pandas

# the column with the SMILES before standardization
GIVEN = "smiles as given"
# pairs in the table of a notebook
_SHOWN = 5


class Rejected(NamedTuple):
    """A row that was left out: file, 1-based data row, line in a file that has lines, reason and content."""

    file: str
    row: int
    line: int | None
    reason: str
    id: str
    smiles: str
    text: str

    def __str__(self) -> str:
        place = f"row {self.row}" if self.line is None else f"row {self.row} (line {self.line})"
        return f"{self.file} {place}: {self.reason}"


@dataclass(frozen=True)
class PairSet:
    """L text–molecule pairs as columns: tuples of length L.

    `extra` holds the file's other columns. `notes` are facts that any table made from the pairs has to state.
    """

    text: tuple[str, ...]
    smiles: tuple[str, ...]
    id: tuple[str, ...]
    split: tuple[str, ...]
    source: str
    rejected: tuple[Rejected, ...] = ()
    notes: tuple[str, ...] = ()
    extra: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False, repr=False)

    def __post_init__(self) -> None:
        columns = {"text": self.text, "smiles": self.smiles, "split": self.split, **self.extra}
        for name, column in columns.items():
            if len(column) != len(self.id):
                raise ValueError(f"{name} has {len(column)} values where id has {len(self.id)}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over id, text, smiles and split of all pairs in order.

        It does not depend on where the pairs came from, so that equal content shares recorded runs. It is computed on
        first use, since most subsets never need it.
        """
        return content_digest(self.id, self.text, self.smiles, self.split)

    @cached_property
    def label(self) -> tuple[str, ...]:
        """What to write under each molecule: its cell in a column `name`, where the table has one, or its id."""
        names = next((column for name, column in self.extra.items() if name.strip().lower() == "name"), self.id)
        return tuple(name or own for name, own in zip(names, self.id, strict=True))

    def __len__(self) -> int:
        return len(self.id)

    def __repr__(self) -> str:
        counts = ", ".join(f"{self.split.count(name)} {name}" for name in split_order(self.split))
        return one_line(f"<PairSet {self.source}: {len(self)} pairs ({counts}), {len(self.rejected)} rejected>")

    def where(self, split: str) -> PairSet:
        """Return the pairs of one split; for an unknown name an InputError lists the splits."""
        if split not in self.split:
            raise InputError(f"split={split!r}: {self.source} has {', '.join(split_order(self.split)) or 'no pairs'}")
        return self.take([row for row, name in enumerate(self.split) if name == split])

    def take(self, indices: Sequence[int] | np.ndarray) -> PairSet:
        """Return the pairs at `indices` `(n,)`, in that order; numbers of rows, or a boolean mask `(L,)`.

        Raises
        ------
        IndexError
            If an index is out of range or not an integer, or a mask has another length.
        """
        given = np.asarray(indices)
        rows = np.arange(len(self))[given if given.size else []].tolist()
        names = ("text", "smiles", "id", "split")
        picked: dict[str, Any] = {name: tuple(getattr(self, name)[row] for row in rows) for name in names}
        extra = {name: tuple(column[row] for row in rows) for name, column in self.extra.items()}
        return replace(self, **picked, extra=extra)

    def standardized(self) -> list[tuple[str, str, str]]:
        """Return id, SMILES before and SMILES after of every molecule that `standardize=True` changed."""
        given = self.extra.get(GIVEN, self.smiles)
        rows = zip(self.id, given, self.smiles, strict=True)
        return [(name, before, after) for name, before, after in rows if before != after]

    def to_frame(self) -> pandas.DataFrame:
        """Return the pairs as a table with columns id, text, smiles, split, then the file's other columns.

        pandas' styled tables do not escape names of columns, so `<` and `>` in them become `‹` and `›`, and control
        characters become visible.
        """
        import pandas

        columns: dict[str, tuple[str, ...]] = {name: getattr(self, name) for name in ("id", "text", "smiles", "split")}
        for name, column in self.extra.items():
            shown = one_line(name).translate({ord("<"): "‹", ord(">"): "›", ord("&"): "＆"})
            while shown in columns:
                shown += " (file)"
            columns[shown] = column
        return pandas.DataFrame(columns)

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table of `to_frame` as CSV in UTF-8, for `load_pairs` and for spreadsheets.

        A cell that a spreadsheet would run as a formula gets an apostrophe, as in every CSV of the kit
        (`class_kit.files.inert`); `to_dataset` keeps such texts as they are.
        """
        frame = self.to_frame()
        write_csv(path, frame.columns, frame.itertuples(index=False))

    def to_dataset(self) -> datasets.DatasetDict:
        """Return a `datasets.DatasetDict` with a data set for each split; `load_pairs` reads the pairs back, by split.

        Raises
        ------
        ImportError
            If the package `datasets` is not installed.
        """
        import datasets

        frame = self.to_frame()
        splits = {name: frame[frame["split"] == name].reset_index(drop=True) for name in split_order(self.split)}
        return datasets.DatasetDict({name: datasets.Dataset.from_pandas(part) for name, part in splits.items()})

    def _repr_html_(self) -> str:
        """The first pairs as a table with drawn molecules, for notebooks."""
        from class_kit.figures.molecules import molecule_png

        first = self.take(range(min(_SHOWN, len(self))))
        rows = []
        for name, smiles, text, split in zip(first.id, first.smiles, first.text, first.split, strict=True):
            drawn = base64.b64encode(molecule_png(smiles, (180, 150))).decode()
            words = [escape(one_line(value)) for value in (name, text, split)]
            picture = f'<img alt="{escape(one_line(smiles))}" src="data:image/png;base64,{drawn}">'
            rows.append(f'<tr><td>{words[0]}<td>{picture}<td style="text-align: left">{words[1]}<td>{words[2]}')
        head = "<tr><th>id<th>molecule<th>text<th>split"
        return f"<p>{escape(repr(self))}</p><table>{head}{''.join(rows)}</table>"


def content_digest(*columns: Sequence[str]) -> str:
    """Return the SHA-256 (hex) of equally long columns of text.

    Each value is preceded by its length in bytes: no two different tables give the same byte stream, as they would
    with a separator that may occur in the data.
    """
    digest = hashlib.sha256(f"{len(columns)} columns, {len(columns[0])} rows\n".encode())
    for row in zip(*columns, strict=True):
        for value in row:
            encoded = value.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "big"))
            digest.update(encoded)
    return digest.hexdigest()


def pool_targets(pairs: PairSet, molecules: PairSet) -> np.ndarray:
    """Positions of the pairs' own molecules in the pool, `(Q,)` int64: the targets of a ranking.

    Raises
    ------
    InputError
        If ids are missing from the pool; the message names the first of them.
    """
    position = {name: row for row, name in enumerate(molecules.id)}
    missing = [name for name in pairs.id if name not in position]
    if missing:
        named = ", ".join(repr(name) for name in missing[:5])
        raise InputError(
            f"{len(missing)} of {len(pairs)} pairs of {pairs.source} are not in the pool {molecules.source}: {named}"
            f"{' …' if len(missing) > 5 else ''}"
        )
    return np.array([position[name] for name in pairs.id], dtype=np.int64)


def write_rejected(pairs: PairSet, path: str | os.PathLike[str]) -> None:
    """Write the rejected rows as CSV with a header, even if there are none, so that no older list stays behind.

    Text that a spreadsheet would run as a formula gets an apostrophe (`class_kit.files.inert`).
    """
    write_csv(path, Rejected._fields, pairs.rejected)
