"""How many pairs lie near each pair: exact counts above a cosine threshold.

The paper's difficulty (CLASS, section on the sample difficulty) needs s_ij = (cos(t_i, t_j) + cos(m_i, m_j)) / 2 for
every two pairs and names that as its limit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from class_kit.neighbour_product import count_panel
from class_kit.neighbour_rows import Rows, check_sigma, make_rows
from class_kit.progress import progress_bar

PANEL = 4096


def neighbour_counts(
    t: Any,
    m: Any = None,
    sigma: float | Sequence[float] | np.ndarray = 0.99,
    *,
    weight: float = 0.5,
    against: tuple[Any, Any] | None = None,
    progress: bool | None = None,
) -> np.ndarray:
    """Count, for each pair, the other pairs with a similarity above `sigma`, exactly.

    Parameters
    ----------
    t, m : (L, d_t) and (L, d_m) arrays, float16, float32 or float64, or memory maps; one of them may be None.
    sigma : threshold σ in (−1, 1], or a list of them.
    weight : share w of the text: s_ij = w·cos(t_i, t_j) + (1 − w)·cos(m_i, m_j).
    against : (t_ref, m_ref): count in this other set instead, for held-out pairs.
    progress : show a bar with an estimate; None shows it on a terminal.

    Returns
    -------
    (L,) int64, or (n_sigma, L) for a list. Equal to a float64 evaluation of s_ij > σ except for pairs within 1e-12 of
    σ. σ = 1 gives 0. A zero vector has cosine 0 with everything.

    Raises TypeError or ValueError, naming the value, for what cannot be counted.
    """
    sigmas, single = check_sigma(sigma)
    rows = make_rows(t, m, weight)
    refs = rows if against is None else reference_rows(rows, against, weight)
    counts = np.zeros((len(sigmas), len(rows)), np.int64)
    starts = range(0, len(rows), PANEL)
    hidden = None if progress is None else not progress
    for start in progress_bar(starts, desc="neighbours", unit="block", disable=hidden):
        first, part = count_panel(rows, refs, sigmas, start, min(start + PANEL, len(rows)), against is None)
        counts[:, first : first + part.shape[1]] += part
    counts[sigmas == 1] = 0
    return counts[0] if single else counts


def reference_rows(rows: Rows, against: tuple[Any, Any], weight: float) -> Rows:
    """Check the set counted in: the same modalities and widths as the rows."""
    if not isinstance(against, (tuple, list)) or len(against) != 2:
        raise TypeError(f"against is {type(against).__name__}: a tuple (t_ref, m_ref) expected")
    refs = make_rows(against[0], against[1], weight, name="against ")
    for label, a, b in (("t", rows.t, refs.t), ("m", rows.m, refs.m)):
        if a.shape[1] != b.shape[1]:
            raise ValueError(
                f"against {label} has {b.shape[1]} features, {label} has {a.shape[1]}: equal widths expected"
            )
    return refs
