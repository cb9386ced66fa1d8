"""Figures: data in, Axes out; a style for each place they are shown in; files beside the parameters that made them."""

from __future__ import annotations

from class_kit.figures.layout import PALETTE, STYLES, active_style, draw, panel, save, styled, use_style
from class_kit.figures.molecules import molecule, molecule_grid, molecule_png
from class_kit.figures.plots import (
    binned,
    chosen_bars,
    class_map,
    count_histogram,
    doubling_bins,
    epoch_contents,
    flat_map,
    heat_map,
    intensity_curves,
    interval_plot,
    rank_by_count,
    schedule_cost,
    schedule_curves,
    share_lines,
    similarity_histogram,
    threshold_curves,
    training_curves,
)

__all__ = [
    "PALETTE",
    "STYLES",
    "active_style",
    "binned",
    "chosen_bars",
    "class_map",
    "count_histogram",
    "doubling_bins",
    "draw",
    "epoch_contents",
    "flat_map",
    "heat_map",
    "intensity_curves",
    "interval_plot",
    "molecule",
    "molecule_grid",
    "molecule_png",
    "panel",
    "rank_by_count",
    "save",
    "schedule_cost",
    "schedule_curves",
    "share_lines",
    "similarity_histogram",
    "styled",
    "threshold_curves",
    "training_curves",
    "use_style",
]
