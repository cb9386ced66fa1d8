"""Figures: data in, Axes out; a style for each place they are shown in; files beside the parameters that made them."""

from __future__ import annotations

from class_kit.figures.grids import heat_map, share_lines
from class_kit.figures.layout import draw, panel, save
from class_kit.figures.molecules import molecule, molecule_grid, molecule_png
from class_kit.figures.plots import (
    binned,
    class_map,
    count_histogram,
    epoch_contents,
    flat_map,
    intensity_curves,
    interval_plot,
    rank_by_count,
    schedule_curves,
    similarity_histogram,
    training_curves,
)
from class_kit.figures.style import PALETTE, STYLES, active_style, styled, use_style

__all__ = [
    "PALETTE",
    "STYLES",
    "active_style",
    "binned",
    "class_map",
    "count_histogram",
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
    "schedule_curves",
    "share_lines",
    "similarity_histogram",
    "styled",
    "training_curves",
    "use_style",
]
