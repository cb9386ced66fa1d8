"""Difficulty: the paper's neighbour count as an order, other measures, and how well each predicts the rank."""

from __future__ import annotations

from class_kit.difficulty.measures import MEASURES, Measure, available_measures, difficulty
from class_kit.difficulty.order import (
    difficulty_order,
    difficulty_table,
    mean_top_similarity,
    sigma_for_quantile,
    tie_mass,
)
from class_kit.difficulty.prediction import HeldOut, heldout_measures, measure_vs_rank

__all__ = [
    "MEASURES",
    "HeldOut",
    "Measure",
    "available_measures",
    "difficulty",
    "difficulty_order",
    "difficulty_table",
    "heldout_measures",
    "mean_top_similarity",
    "measure_vs_rank",
    "sigma_for_quantile",
    "tie_mass",
]
