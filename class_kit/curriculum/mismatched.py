"""Training among mismatched pairs: which of them a plan leaves out, and the controls that tell what that is worth.

What is known beforehand is an audit of the pairs (`class_kit.audit_pairs`): how well text and molecule of each agree,
and the share that is mismatched, with its interval. Losses of the model under way then refine the choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from class_kit.curriculum.controls import make_order
from class_kit.curriculum.feedback import SmallLossPlan
from class_kit.curriculum.plan import EpochPlan, Plan
from class_kit.curriculum.schedules import make_schedule

if TYPE_CHECKING:
    from class_kit.agreement import PairAudit

# Fixed once on validation pairs of the real split.
WARMUP = 5
SMALL_SHARE = 0.03


def choose_order(audit: PairAudit) -> tuple[str, str]:
    """What the order "auto" trains by, "standard" or "small-loss", and why, in one sentence.

    Small losses where the interval of the mismatched share excludes zero and reaches beyond 3 %; all pairs otherwise,
    since leaving out pairs that belong together costs more than so few wrong ones.
    """
    low, high = audit.mismatch_share_ci
    found = f"{audit.mismatch_share:.1%} of the training pairs look mismatched (95 % interval {low:.1%} to {high:.1%})"
    if low == 0 or high < SMALL_SHARE:
        why = "the interval includes zero" if low == 0 else f"less than {SMALL_SHARE:.0%}"
        return "standard", f"auto: {found}: {why}, so all pairs are trained on"
    return "small-loss", f"auto: {found}, so {dropped_share(audit):.1%} of greatest loss and doubt are left out"


def dropped_share(audit: PairAudit) -> float:
    """The share of pairs that small losses leave out: the upper end of the interval of the mismatched share.

    A wrong pair that stays costs more than a right one that goes.
    """
    return min(0.95, audit.mismatch_share_ci[1])


def selective_plan(
    order: str, count: int, audit: PairAudit | None, exchanged: np.ndarray | None, seed: int, epochs: int
) -> Plan:
    """The plan of an order among mismatched pairs, all with γ = 1.

    Parameters
    ----------
    order : str
        "small-loss" leaves out the `dropped_share` after a warm-up; "mixture" weighs all pairs by the mixture of their
        losses; "auto" is as `choose_order` says; "random-subset" leaves as many out at random, for the whole run;
        "oracle" leaves out exactly those that were exchanged.
    count : int
        L, the number of training pairs.
    audit : PairAudit, optional
        Of these pairs; every order but "oracle" needs it.
    exchanged : (L,) bool, optional
        Pairs known to be wrong; None where none are known.
    seed, epochs
        As of `EpochPlan`.
    """
    every, unseen, full = np.arange(count), np.full(count, np.nan), make_schedule("full")
    if order == "oracle" or audit is None:
        kept = every if exchanged is None else np.flatnonzero(~exchanged)
        return EpochPlan(kept, full, "constant", seed, epochs)
    if order == "auto":
        order = choose_order(audit)[0]
    if order == "mixture":
        return SmallLossPlan(unseen, 0.0, WARMUP, mixture=True, seed=seed, epochs=epochs)
    if order == "small-loss":
        return SmallLossPlan(unseen, dropped_share(audit), WARMUP, -audit.agreement, seed=seed, epochs=epochs)
    if order == "random-subset":
        every = make_order("random", every, seed)[: count - round(dropped_share(audit) * count)]
    return EpochPlan(every, full, "constant", seed, epochs)
