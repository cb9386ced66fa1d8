"""Difficulty: the paper's neighbour count as an order, other measures beside it, and what each of them predicts."""

from __future__ import annotations

from class_kit.difficulty.heldout import (
    HeldOut,
    answer_page,
    answer_table,
    answer_words,
    heldout_measures,
    set_against_rank,
)
from class_kit.difficulty.measures import available_measures, difficulty, register_measure
from class_kit.difficulty.order import (
    difficulty_order,
    difficulty_table,
    mean_top_similarity,
    sigma_for_quantile,
    tie_mass,
)
from class_kit.difficulty.prediction import Association, heldout_counts, measure_vs_rank

__all__ = [
    "Association",
    "HeldOut",
    "answer_page",
    "answer_table",
    "answer_words",
    "available_measures",
    "difficulty",
    "difficulty_order",
    "difficulty_table",
    "heldout_counts",
    "heldout_measures",
    "mean_top_similarity",
    "measure_vs_rank",
    "register_measure",
    "set_against_rank",
    "sigma_for_quantile",
    "tie_mass",
]
