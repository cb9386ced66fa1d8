"""Figures: data in, Axes out, one style for each place they are shown in, files beside what made them.

`draw` puts plots into a figure that remembers its data, `save` writes it as PDF and PNG with those data beside it, and
`redraw_run` (`class-kit figures`) draws a finished run's figures again for a paper or a slide.
"""

from __future__ import annotations

from class_kit.figures.drawings import draw, draw_again, drawing_of, molecule_grid, panel, register_plot
from class_kit.figures.files import redraw_run, save
from class_kit.figures.grids import heat_map, share_lines
from class_kit.figures.molecules import molecule, molecule_png
from class_kit.figures.plots import (
    NARROW,
    WIDE,
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
    tallied,
    training_curves,
)
from class_kit.figures.styles import PALETTE, STYLES, active_style, styled, use_style

__all__ = [
    "NARROW",
    "PALETTE",
    "STYLES",
    "WIDE",
    "active_style",
    "binned",
    "class_map",
    "count_histogram",
    "draw",
    "draw_again",
    "drawing_of",
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
    "redraw_run",
    "register_plot",
    "save",
    "schedule_curves",
    "share_lines",
    "similarity_histogram",
    "styled",
    "tallied",
    "training_curves",
    "use_style",
]
