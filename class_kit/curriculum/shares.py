"""Closed forms of how much of the data the schedules use: sums of their shapes over the rising epochs.

With r epochs before the K at which all data is in use, the share of samples of E epochs is
(αr + (1 - α) Σ shape(k / K) + E - r) / E, the sum from k = 1 to r; here are the sums that have a closed form. Those of
roots and of competence are sums of fractional powers, which are no elementary function of their number.
"""

from __future__ import annotations

import math

# beyond these a closed form is a difference of nearly equal numbers, and adding up is the better way
_LEAST_RATE = 1.0
_LARGEST_GAMMA = 1e3


def sum_of_squares(count: int, full: float) -> float:
    """Σ (k / K)² = r(r + 1)(2r + 1) / (6K²)."""
    return count * (count + 1) * (2 * count + 1) / 6.0 / full / full


def sum_of_steps(count: int, interval: int) -> float:
    """Σ ⌊k / n⌋ = nq(q - 1)/2 + q(r - nq + 1), with q = ⌊r / n⌋ whole steps."""
    whole = count // interval
    return interval * whole * (whole - 1) / 2.0 + whole * (count - interval * whole + 1)


def sum_of_exponentials(count: int, full: float, rate: float) -> float | None:
    """Σ (e^(ak) - 1) / (e^rate - 1) with a = rate / K, a geometric sum: Σ e^(ak) = (e^(ar) - 1) / (1 - e^(-a)).

    None where digits would be lost.
    """
    each = rate / full
    if rate < _LEAST_RATE or each == 0.0:
        return None
    # divided first: the numerator alone may be larger than a float64 can be
    whole = math.expm1(rate)
    return math.expm1(each * count) / whole / -math.expm1(-each) - count / whole


def sum_of_logarithms(count: int, full: float, rate: float) -> float | None:
    """Σ log(1 + ck) / rate with c = (e^rate - 1) / K: r log c + log Γ(r + 1 + 1/c) - log Γ(1 + 1/c), over the rate.

    None where digits would be lost.
    """
    inverse = full / math.expm1(rate)
    if inverse > _LARGEST_GAMMA:
        return None
    return (math.lgamma(count + 1 + inverse) - math.lgamma(1 + inverse) - count * math.log(inverse)) / rate
