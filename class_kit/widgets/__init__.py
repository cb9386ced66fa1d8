"""Interactive views: controls, a picture, a sentence; each shows what the static figure above it cannot.

Every view is made of ordinary ipywidgets, so that it works in JupyterLab, Notebook and Voilà, with the keyboard alone,
and without the network. Pictures are drawn off screen and handed over as PNG. Text from data is escaped before it
meets HTML, and what a callback raises stands in the view.
"""

from __future__ import annotations

from class_kit.widgets.curve_views import intensity_comparer, schedule_designer
from class_kit.widgets.pair_views import difficulty_explorer, epoch_viewer, neighbour_viewer
from class_kit.widgets.parts import View, picture
from class_kit.widgets.retrieval_views import failure_browser, retrieval_playground

__all__ = [
    "View",
    "difficulty_explorer",
    "epoch_viewer",
    "failure_browser",
    "intensity_comparer",
    "neighbour_viewer",
    "picture",
    "retrieval_playground",
    "schedule_designer",
]
