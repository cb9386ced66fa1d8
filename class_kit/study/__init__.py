"""Studies: arms and their controls, trained with several seeds and compared in pairs.

`config` reads what is compared, `arms` makes the plan of each arm, `runner` trains, `records` stores each training,
`statistics`, `tables` and `results` evaluate; `conduct` runs a whole study, and `paper` holds those of the paper.
"""

from __future__ import annotations

from typing import Any

from class_kit.options import Arm as Arm
from class_kit.options import Curve
from class_kit.study.records import Record as Record
from class_kit.study.runner import Failure as Failure
from class_kit.study.runner import reference_scores as reference_scores
from class_kit.study.runner import run_all as run_all
from class_kit.study.runner import run_arm as run_arm
from class_kit.study.runner import run_arms as run_arms
from class_kit.study.tables import costs as costs
from class_kit.study.tables import differences as differences
from class_kit.study.tables import history_frame as history_frame
from class_kit.study.tables import summary as summary


def standard_arms(
    start: float = 0.40, growth: float = 0.03, intensity: Curve = "inverse", sigma: float = 0.95
) -> list[Arm]:
    """CLASS and the controls it has to beat: the full budget, the same budget, and the same budget in random order.

    Wu, Dyer and Neyshabur (ICLR 2021) found that most of what a curriculum gives is given by the last two.
    """
    common: dict[str, Any] = {"start": start, "growth": growth, "sigma": sigma}
    return [
        Arm("baseline", order="standard", intensity="constant", **common),
        Arm("CLASS", order="curriculum", intensity=intensity, **common),
        Arm("random order", order="random", intensity=intensity, **common),
        Arm("step-matched", order="standard", intensity="constant", step_matched=True, **common),
    ]
