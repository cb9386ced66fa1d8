"""Interactive views: controls, a picture, a sentence; each shows what the static figure above it cannot.

Every view is made of ordinary ipywidgets, so that it works in JupyterLab, Notebook and Voilà, with the keyboard alone,
and without the network. Pictures are drawn off screen and handed over as PNG. Text from data is escaped before it
meets HTML, and what a callback raises stands in the view.
"""

from __future__ import annotations

from class_kit.widgets.difficulty import difficulty_explorer
from class_kit.widgets.epochs import epoch_viewer
from class_kit.widgets.failures import failure_browser
from class_kit.widgets.intensities import intensity_comparer
from class_kit.widgets.neighbours import neighbour_viewer
from class_kit.widgets.parts import View, picture
from class_kit.widgets.playground import retrieval_playground
from class_kit.widgets.schedules import schedule_designer

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
