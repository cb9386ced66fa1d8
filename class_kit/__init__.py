"""Curriculum learning for cross-modal text–molecule retrieval: CLASS (arXiv 2502.11633) and its controls.

The public names are loaded when first used, so that `import class_kit` costs nothing of torch, transformers, RDKit
or matplotlib; a reader of counts and schedules never pays for an encoder.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from class_kit.interrupts import import_whole

__version__ = "0.1.0"

# public name -> the module that defines it, in the order of the data's path
_HOME = {
    "InputError": "errors",
    "PairSet": "pairs",
    "load_pairs": "pairs",
    "load_molecules": "pairs",
    "embed_text": "text",
    "embed_molecules": "molecules",
    "mol2vec_coverage": "molecules",
    "Task": "task",
    "load_task": "task",
    "neighbour_counts": "neighbours",
    "sigma_for_quantile": "difficulty",
    "difficulty_order": "difficulty",
    "EpochPlan": "curriculum",
    "LinearSchedule": "curriculum",
    "CurriculumBatchSampler": "curriculum",
    "duplicate_labels": "curriculum.apart",
    "duplicate_mask": "curriculum.apart",
    "make_plan": "curriculum.controls",
    "lr_factor": "curriculum",
    "make_schedule": "curriculum",
    "one_of_each": "curriculum.apart",
    "neighbour_line": "curriculum.hard_batches",
    "HardnessSchedule": "curriculum.hard_batches",
    "MetricPacing": "curriculum.pacing",
    "PacedPlan": "curriculum.pacing",
    "SelfPacedPlan": "curriculum.self_paced",
    "LossPrunedPlan": "curriculum.self_paced",
    "UncertaintyWeights": "curriculum.uncertainty",
    "available_backbones": "backbones",
    "create_backbone": "backbones",
    "register_backbone": "backbones",
    "TrainingConfig": "training",
    "train": "training",
    "retrieval_ranks": "retrieval",
    "retrieval_metrics": "retrieval",
}
__all__ = [
    "CurriculumBatchSampler",
    "EpochPlan",
    "HardnessSchedule",
    "InputError",
    "LinearSchedule",
    "LossPrunedPlan",
    "MetricPacing",
    "PacedPlan",
    "PairSet",
    "SelfPacedPlan",
    "Task",
    "TrainingConfig",
    "UncertaintyWeights",
    "__version__",
    "available_backbones",
    "create_backbone",
    "difficulty_order",
    "duplicate_labels",
    "duplicate_mask",
    "embed_molecules",
    "embed_text",
    "load_molecules",
    "load_pairs",
    "load_task",
    "lr_factor",
    "make_plan",
    "make_schedule",
    "mol2vec_coverage",
    "neighbour_counts",
    "neighbour_line",
    "one_of_each",
    "register_backbone",
    "retrieval_metrics",
    "retrieval_ranks",
    "sigma_for_quantile",
    "train",
]

if TYPE_CHECKING:
    from class_kit.backbones import available_backbones, create_backbone, register_backbone
    from class_kit.curriculum import CurriculumBatchSampler, EpochPlan, LinearSchedule, lr_factor, make_schedule
    from class_kit.curriculum.apart import duplicate_labels, duplicate_mask, one_of_each
    from class_kit.curriculum.controls import make_plan
    from class_kit.curriculum.hard_batches import HardnessSchedule, neighbour_line
    from class_kit.curriculum.pacing import MetricPacing, PacedPlan
    from class_kit.curriculum.self_paced import LossPrunedPlan, SelfPacedPlan
    from class_kit.curriculum.uncertainty import UncertaintyWeights
    from class_kit.difficulty import difficulty_order, sigma_for_quantile
    from class_kit.errors import InputError
    from class_kit.molecules import embed_molecules, mol2vec_coverage
    from class_kit.neighbours import neighbour_counts
    from class_kit.pairs import PairSet, load_molecules, load_pairs
    from class_kit.retrieval import retrieval_metrics, retrieval_ranks
    from class_kit.task import Task, load_task
    from class_kit.text import embed_text
    from class_kit.training import TrainingConfig, train


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'class_kit' has no attribute {name!r}")
    home = f"class_kit.{_HOME[name]}"
    import_whole(home)
    value = getattr(sys.modules[home], name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
