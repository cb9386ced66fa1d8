"""The paper's claims, settled on a user's pairs: products that are studies, what is kept of them, tables and words.

`products` says what is trained, `conduct` trains it, `aggregate` keeps what matters, `drawing` and `words` show it.
"""

from __future__ import annotations

from class_kit.study.paper.conduct import PaperSettings, plan_paper, run_paper
from class_kit.study.paper.products import chosen_products

__all__ = ["PaperSettings", "chosen_products", "plan_paper", "run_paper"]
