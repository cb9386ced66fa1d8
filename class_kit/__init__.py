"""Curriculum learning for cross-modal text–molecule retrieval: CLASS (arXiv 2502.11633) and its controls.

The public names are loaded when first used, so that `import class_kit` costs nothing of torch, transformers, RDKit
or matplotlib; a reader of counts and schedules never pays for an encoder.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

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
    "InputError",
    "LinearSchedule",
    "PairSet",
    "Task",
    "TrainingConfig",
    "__version__",
    "available_backbones",
    "create_backbone",
    "difficulty_order",
    "embed_molecules",
    "embed_text",
    "load_molecules",
    "load_pairs",
    "load_task",
    "mol2vec_coverage",
    "neighbour_counts",
    "register_backbone",
    "retrieval_metrics",
    "retrieval_ranks",
    "sigma_for_quantile",
    "train",
]

if TYPE_CHECKING:
    from class_kit.backbones import available_backbones, create_backbone, register_backbone
    from class_kit.curriculum import CurriculumBatchSampler, EpochPlan, LinearSchedule
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
    value = getattr(importlib.import_module(f"class_kit.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
