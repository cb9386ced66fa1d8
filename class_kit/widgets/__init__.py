"""Interactive views: controls, a picture and a sentence; each shows what the static figure above it cannot.

Every view consists of standard ipywidgets, so that it works in JupyterLab, Notebook and Voilà, by keyboard alone and
offline. Pictures are drawn off screen and sent as PNG. Text from data is escaped before it is put into HTML, and errors
of a callback are shown in the view.
"""

from __future__ import annotations

from class_kit.widgets.curve_views import intensity_comparer as intensity_comparer
from class_kit.widgets.curve_views import schedule_designer as schedule_designer
from class_kit.widgets.pair_views import difficulty_explorer as difficulty_explorer
from class_kit.widgets.pair_views import epoch_viewer as epoch_viewer
from class_kit.widgets.pair_views import neighbour_viewer as neighbour_viewer
from class_kit.widgets.parts import View as View
from class_kit.widgets.parts import picture as picture
from class_kit.widgets.parts import tabs as tabs
from class_kit.widgets.retrieval_views import failure_browser as failure_browser
from class_kit.widgets.retrieval_views import retrieval_playground as retrieval_playground
from class_kit.widgets.suspect_views import suspect_reviewer as suspect_reviewer
