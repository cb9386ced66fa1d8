"""The curriculum: schedules λ_k, intensities γ_k, the epoch plan, and the sampler that hands it to any trainer."""

from __future__ import annotations

from class_kit.curriculum.intensity import INTENSITIES, lr_factor, make_intensity, weigh_terms
from class_kit.curriculum.plan import EpochPlan, NeverFullWarning, Plan
from class_kit.curriculum.sampler import CurriculumBatchSampler
from class_kit.curriculum.schedules import SHAPES, LinearSchedule, Schedule, make_schedule

__all__ = [
    "INTENSITIES",
    "SHAPES",
    "CurriculumBatchSampler",
    "EpochPlan",
    "LinearSchedule",
    "NeverFullWarning",
    "Plan",
    "Schedule",
    "lr_factor",
    "make_intensity",
    "make_schedule",
    "weigh_terms",
]
