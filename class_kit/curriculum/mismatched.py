"""Training with mismatched pairs: which pairs a plan leaves out, and controls that show what that is worth.

An audit of the pairs (`class_kit.audit_pairs`) says beforehand how well each text and molecule agree, and estimates the
share of mismatched pairs with its interval. Losses of the model in training then refine the choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.curriculum.controls import make_order
from class_kit.curriculum.feedback import SmallLossPlan
from class_kit.curriculum.plan import EpochPlan
from class_kit.curriculum.schedules import make_schedule
from class_kit.errors import InputError

if TYPE_CHECKING:
    from class_kit.agreement import PairAudit

# Share of the epochs with all pairs, and the share of mismatched pairs below which none is left out: chosen once, on
# validation pairs of the real split.
WARMUP = 0.1
SMALL_SHARE = 0.03


def choose_order(audit: PairAudit) -> tuple[str, str]:
    """What the order "auto" becomes, "standard" or "small-loss", and one sentence that says why.

    "small-loss" if the interval of the mismatched share excludes zero and reaches beyond 3 %; otherwise all pairs,
    since leaving out matching pairs costs more than so few wrong ones.

    Raises
    ------
    InputError
        The pairs look shuffled as a whole.
    """
    if audit.shuffled_as_a_whole:
        raise InputError(
            f"order='auto': the training pairs look shuffled as a whole (AUC {audit.auc:.2f}, chance is 0.5): expected "
            "each text in the row of its molecule, so check how the table was assembled"
        )
    low, high = audit.mismatch_share_ci
    looks = f"{audit.mismatch_share:.1%} of the training pairs look mismatched (95 % interval {low:.1%} to {high:.1%})"
    if low == 0 or high < SMALL_SHARE:
        why = "the interval includes zero" if low == 0 else f"less than {SMALL_SHARE:.0%}"
        return "standard", f"auto: {looks}: {why}, so all pairs are trained on"
    return "small-loss", f"auto: {looks}, so {left_out(audit):.1%} are left out, by loss and doubt"


def left_out(audit: PairAudit) -> float:
    """The share of pairs that "small-loss" leaves out, at most 0.9: the upper end of the mismatched share's interval.

    On validation pairs, keeping a wrong pair cost more than losing a right one.
    """
    return min(audit.mismatch_share_ci[1], 0.9)


def selective_plan(
    order: str, count: int, audit: PairAudit | None, exchanged: np.ndarray | None, **options: Any
) -> EpochPlan:
    """The plan of an order for mismatched pairs, with γ = 1.

    Parameters
    ----------
    order : str
        After a tenth of the epochs, "small-loss" leaves out the share `left_out` with the largest sums of the ranks of
        loss and doubt, and "mixture" weights all pairs by the mixture of their losses. "auto" follows `choose_order`.
        "random-subset" leaves out as many pairs at random throughout; "oracle" leaves out those that were exchanged.
    count : int
        L, the number of training pairs.
    audit : PairAudit, optional
        Of these pairs; needed for every order except "oracle".
    exchanged : (L,) bool, optional
        Pairs known to be wrong; None if none are known.
    options
        seed, epochs and how batches are composed, as of `EpochPlan`.
    """
    warmup = max(1, round(WARMUP * options["epochs"]))
    every, unseen, full = np.arange(count), np.full(count, np.nan), make_schedule("full")
    if order == "oracle" or audit is None:
        kept = every if exchanged is None else np.flatnonzero(~exchanged)
        return EpochPlan(kept, full, "constant", **options)
    drop = left_out(audit)
    if order == "auto":
        order = choose_order(audit)[0]
    if order == "mixture":
        return SmallLossPlan(unseen, 0.0, warmup, mixture=True, **options)
    if order == "small-loss":
        return SmallLossPlan(unseen, drop, warmup, -audit.agreement, **options)
    if order == "random-subset":
        every = make_order("random", every, options["seed"])[: count - round(drop * count)]
    return EpochPlan(every, full, "constant", **options)
