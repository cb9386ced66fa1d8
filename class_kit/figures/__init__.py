"""Figures: data in, Axes out; a style for each venue; files saved with the parameters that made them."""

from __future__ import annotations

from class_kit.figures.layout import PALETTE as PALETTE
from class_kit.figures.layout import STYLES as STYLES
from class_kit.figures.layout import draw as draw
from class_kit.figures.layout import panel as panel
from class_kit.figures.layout import save as save
from class_kit.figures.layout import styled as styled
from class_kit.figures.layout import use_style as use_style
from class_kit.figures.molecules import molecule as molecule
from class_kit.figures.molecules import molecule_grid as molecule_grid
from class_kit.figures.molecules import molecule_png as molecule_png
from class_kit.figures.plots import agreement_histogram as agreement_histogram
from class_kit.figures.plots import binned as binned
from class_kit.figures.plots import chosen_bars as chosen_bars
from class_kit.figures.plots import class_map as class_map
from class_kit.figures.plots import count_histogram as count_histogram
from class_kit.figures.plots import doubling_bins as doubling_bins
from class_kit.figures.plots import epoch_contents as epoch_contents
from class_kit.figures.plots import flat_map as flat_map
from class_kit.figures.plots import heat_map as heat_map
from class_kit.figures.plots import intensity_curves as intensity_curves
from class_kit.figures.plots import interval_plot as interval_plot
from class_kit.figures.plots import rank_by_count as rank_by_count
from class_kit.figures.plots import schedule_cost as schedule_cost
from class_kit.figures.plots import schedule_curves as schedule_curves
from class_kit.figures.plots import share_lines as share_lines
from class_kit.figures.plots import similarity_histogram as similarity_histogram
from class_kit.figures.plots import threshold_curves as threshold_curves
from class_kit.figures.plots import training_curves as training_curves
