"""Published text→molecule results on ChEBI-20, to stand beside measured ones and never to be compared across pools.

`pool` is the number of candidates, None where the source does not say. `standing` is "reported" for a figure that a
publication or a summary of it gives, "inferred" for arithmetic on such figures or a reading of them.
"""

from __future__ import annotations

from dataclasses import dataclass

ALL, SPLIT = 33_010, 3_300


@dataclass(frozen=True)
class PublishedRow:
    """One published model: shares and ranks as given, None where the source gives none."""

    model: str
    source: str
    hits_1: float | None
    hits_10: float | None
    mrr: float | None
    mean_rank: float | None
    pool: int | None
    standing: str


PUBLISHED = (
    PublishedRow("Text2Mol MLP", "Edwards et al., EMNLP 2021", 0.224, 0.686, 0.372, 30.38, ALL, "reported"),
    PublishedRow("Text2Mol GCN", "Edwards et al., EMNLP 2021", 0.223, 0.689, 0.371, 41.90, ALL, "reported"),
    PublishedRow("Text2Mol ensemble", "Edwards et al., EMNLP 2021", 0.344, 0.811, 0.499, 20.21, ALL, "reported"),
    PublishedRow("DSOKR", "ECML-PKDD 2024", 0.481, 0.869, 0.623, None, ALL, "reported"),
    PublishedRow("AMAN", "IEEE TAI 2023", 0.494, 0.921, 0.647, 16.01, None, "reported"),
    PublishedRow("AMAN + CLASS", "arXiv 2502.11633", 0.511, None, None, None, None, "inferred"),
    PublishedRow("Song et al.", "arXiv 2410.23715", 0.558, None, None, None, None, "inferred"),
    PublishedRow("ORMA", "arXiv 2411.11875", 0.665, None, None, None, SPLIT, "reported"),
    PublishedRow("ORMA + CLASS, lower reading", "arXiv 2502.11633", 0.675, None, None, None, None, "inferred"),
    PublishedRow("ORMA + CLASS, upper reading", "arXiv 2502.11633", 0.684, None, None, None, None, "inferred"),
    PublishedRow("DiffTMR", "October 2025", 0.71, None, None, None, None, "inferred"),
)
# What the paper says the curriculum is worth over the bare backbone (reported): lowest and highest value.
CLAIMED = {"hits@1": (0.010, 0.019), "mean_rank": (-3.35, -1.76), "share": (0.8444, 0.8673)}
