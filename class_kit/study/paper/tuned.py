"""Learning rates of the paper's backbones, each chosen on validation alone by `figures/backbones/measure.py`."""

from __future__ import annotations

TUNED: dict[str, float] = {
    "dual_encoder": 1e-3,
    "text2mol": 5e-4,
    "moleculestm": 1e-3,
    "memory_bank": 2e-3,
    "dsokr": 2e-3,
    "denoising": 2e-3,
    "text2mol (GCN)": 5e-4,
    "aman": 1e-3,
    "orma": 2e-3,
}
# SGD's peak rate has nothing to do with Adam's; this is the one of notebook 4.
SGD_RATE = 0.3
