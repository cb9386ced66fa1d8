"""Neighbours by Tanimoto on Morgan counts: the molecule similarity that the paper's authors leave as a question.

For counts a, b the similarity is Σ min(a, b) / Σ max(a, b). Written out level by level (a count of 3 is the levels 1,
2 and 3 of its substructure) both sums are sizes of sets, so a sparse product gives every Σ min at once, in whole
numbers and without folding: exact.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from class_kit.neighbours.rows import check_sigma, check_weight, make_rows, reference_rows

PANEL = 512


def morgan_levels(smiles: Sequence[str], radius: int = 2) -> Any:
    """Unfolded Morgan counts as a sparse 0/1 matrix of (substructure, level), (L, features) CSR of int32.

    Raises ValueError naming the first SMILES that RDKit refuses.
    """
    from rdkit import Chem, rdBase
    from rdkit.Chem.rdFingerprintGenerator import GetMorganGenerator
    from scipy.sparse import csr_array

    generator = GetMorganGenerator(radius=radius)
    columns: dict[tuple[int, int], int] = {}
    indices, ends = [], [0]
    with rdBase.BlockLogs():
        for row, text in enumerate(smiles):
            molecule = Chem.MolFromSmiles(text) if isinstance(text, str) else None
            if molecule is None:
                raise ValueError(f"smiles[{row}] is {text!r}: a SMILES that RDKit reads expected")
            for bit, count in generator.GetSparseCountFingerprint(molecule).GetNonzeroElements().items():
                indices += [columns.setdefault((bit, level), len(columns)) for level in range(count)]
            ends.append(len(indices))
    values = np.ones(len(indices), np.int32)
    return csr_array((values, np.array(indices, np.int64), np.array(ends, np.int64)), shape=(len(smiles), len(columns)))


def tanimoto(levels_a: Any, levels_b: Any) -> np.ndarray:
    """Count Tanimoto of every row of one matrix with every row of the other, dense float64; 0 for two empty rows."""
    common = (levels_a @ levels_b.T).toarray().astype(np.float64)
    either = levels_a.sum(axis=1)[:, None] + levels_b.sum(axis=1)[None, :] - common
    return np.divide(common, either, out=np.zeros_like(common), where=either > 0)


def tanimoto_neighbour_counts(
    t: Any,
    smiles: Sequence[str],
    sigma: float,
    *,
    weight: float = 0.5,
    against: tuple[Any, ...] | None = None,
    radius: int = 2,
) -> np.ndarray:
    """Count, for each pair, the others with w·cos(t_i, t_j) + (1 − w)·Tanimoto(i, j) above `sigma`; (L,) int64.

    `t` may be None: molecules alone. `against` = (t_ref, smiles_ref) counts in another set. Exact as
    `neighbour_counts` is, and quadratic: some seconds for thousands of pairs. Raises ValueError for bad input.
    """
    values, single = check_sigma(sigma)
    if not single:
        raise ValueError(f"sigma is {sigma!r}: a single number expected")
    threshold = float(values[0]) + 5e-13
    share = 0.0 if t is None else check_weight(weight)
    names = list(smiles) if against is None else [*smiles, *against[1]]
    levels = morgan_levels(names, radius)
    own, other = levels[: len(smiles)], levels if against is None else levels[len(smiles) :]
    text = None if t is None else make_rows(t, None, 1.0)
    refs = text if text is None or against is None else reference_rows(text, (against[0], None), 1.0)
    for rows, count in ((text, own.shape[0]), (refs, other.shape[0])):
        if rows is not None and len(rows) != count:
            raise ValueError(f"t has {len(rows)} rows for {count} smiles: one for each expected")
    if not own.shape[0] or not other.shape[0]:
        raise ValueError("smiles is empty: at least one molecule expected")
    counts = np.zeros(own.shape[0], np.int64)
    for start in range(0, own.shape[0], PANEL):
        part = slice(start, min(start + PANEL, own.shape[0]))
        similarity = (1 - share) * tanimoto(own[part], other)
        if text is not None and refs is not None:
            for left in range(0, len(refs), PANEL):
                columns = slice(left, left + PANEL)
                similarity[:, columns] += share * (text.unit(part) @ refs.unit(columns).T)
        above = similarity > threshold
        if against is None:
            above[np.arange(part.stop - start), np.arange(start, part.stop)] = False
        counts[part] = above.sum(axis=1)
    return counts
