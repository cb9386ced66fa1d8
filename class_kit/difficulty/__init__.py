"""Difficulty: the paper's neighbour count as an order, other measures, and how well each predicts the rank."""

from class_kit.difficulty.measures import MEASURES as MEASURES
from class_kit.difficulty.measures import available_measures as available_measures
from class_kit.difficulty.measures import difficulty as difficulty
from class_kit.difficulty.order import difficulty_order as difficulty_order
from class_kit.difficulty.order import difficulty_table as difficulty_table
from class_kit.difficulty.order import mean_top_similarity as mean_top_similarity
from class_kit.difficulty.order import sigma_for_quantile as sigma_for_quantile
from class_kit.difficulty.order import tie_mass as tie_mass
from class_kit.difficulty.prediction import HeldOut as HeldOut
from class_kit.difficulty.prediction import heldout_measures as heldout_measures
from class_kit.difficulty.prediction import measure_vs_rank as measure_vs_rank
