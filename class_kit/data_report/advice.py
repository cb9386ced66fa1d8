"""What to watch out for, in sentences made from a report's numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from class_kit.data_report.repeats import EQUAL_TEXT, EQUAL_WITHOUT_STEREO
from class_kit.progress import duration

# From where a finding is a warning and not a note. They are judgements; each stands beside its number in the words.
MANY_REJECTED = 0.05
MOSTLY_TIES = 0.80
POOR_COVERAGE = 0.95
FEW_QUERIES = 300
FEW_TO_TRAIN = 1000
SHORT_TEXT = 10
LONG_TRAINING = 3600.0

Found = Mapping[str, Any]
Sentences = Iterator[dict[str, str]]


def advise(found: Found) -> list[dict[str, str]]:
    """Sentences about a report's findings: {about, level, says}, warnings first.

    Parameters
    ----------
    found : mapping
        The fields of `DataReport` without `groups` and `advice`.
    """
    said = [entry for about in _ABOUT for entry in about(found)]
    return sorted(said, key=lambda entry: entry["level"] != "warning")


def _say(about: str, level: str, says: str) -> dict[str, str]:
    return {"about": about, "level": level, "says": says}


def _rejected(found: Found) -> Sentences:
    bad = sum(entry["rows"] for entry in found["rejected"])
    if not bad:
        return
    share = bad / (bad + found["pairs"])
    most = found["rejected"][0]
    level = "warning" if share > MANY_REJECTED else "note"
    yield _say(
        "rejected rows",
        level,
        f"{bad:,} rows ({share:.1%}) were left out, {most['rows']:,} of them for one reason: {most['first']}.",
    )


def _repeats(found: Found) -> Sentences:
    repeats = {entry["what"]: entry for entry in found["repeats"]}
    texts, flat = repeats[EQUAL_TEXT], repeats[EQUAL_WITHOUT_STEREO]
    if texts["rows"]:
        ceiling = found["texts"]["distinct"] / found["pairs"]
        yield _say(
            "duplicates",
            "note",
            f"{texts['rows']:,} rows share their text with another: asked all at once, no retriever gets past "
            f"{ceiling:.1%} in Hits@1, and in a batch they are each other's false negatives.",
        )
    if flat["rows"]:
        yield _say(
            "duplicates",
            "note",
            f"{flat['rows']:,} rows share their molecule with another, stereochemistry aside: Mol2vec gives them "
            "equal vectors, so they are ranked by chance among each other.",
        )
    for what, entry in ((EQUAL_TEXT, texts), (EQUAL_WITHOUT_STEREO, flat)):
        if entry["across_splits"]:
            yield _say(
                "leakage",
                "warning",
                f"{entry['across_splits']:,} groups of {what} lie in more than one split: report results with and "
                "without them, or split again.",
            )


def _sizes(found: Found) -> Sentences:
    train, held = found["splits"].get("train", 0), found["splits"].get("test", 0)
    if train < FEW_TO_TRAIN:
        yield _say("size", "warning", f"Only {train:,} training pairs: expect large differences between seeds.")
    if held and held < FEW_QUERIES:
        yield _say(
            "size",
            "warning",
            f"Only {held:,} test queries: one query is {1 / held:.2%} of Hits@1, and intervals will be wide.",
        )
    if not held:
        yield _say("size", "warning", "There is no test split: results would be read off pairs that chose the model.")


def _coverage(found: Found) -> Sentences:
    coverage = found["coverage"]
    if not coverage:
        return
    if coverage["overall"] < POOR_COVERAGE:
        yield _say(
            "coverage",
            "warning",
            f"The vectors {coverage['vectors']!r} know only {coverage['overall']:.1%} of the Mol2vec words: the "
            "rest all look alike. Try others (class-kit fetch mol2vec), or Morgan fingerprints.",
        )
    else:
        yield _say("coverage", "note", f"{coverage['overall']:.1%} of the Mol2vec words have a vector.")
    if coverage["without_known"]:
        yield _say(
            "coverage",
            "warning",
            f"{coverage['without_known']:,} molecules have no known word and get a zero vector.",
        )


def _texts(found: Found) -> Sentences:
    texts = found["texts"]
    if texts["truncated"]:
        yield _say(
            "texts",
            "warning",
            f"{texts['truncated']:,} texts are longer than {texts['max_tokens']} tokens (the longest has "
            f"{texts['longest']:,}); what stands behind is not read.",
        )
    if texts["median"] < SHORT_TEXT:
        yield _say(
            "texts",
            "warning",
            f"Half of the texts have at most {texts['median']:.0f} tokens, special ones included: names rather "
            "than descriptions, of which a sentence encoder knows little.",
        )


def _ties(found: Found) -> Sentences:
    highest = max(found["difficulty"], key=lambda entry: entry["sigma"])
    if highest["tie_mass"] > MOSTLY_TIES:
        yield _say(
            "difficulty",
            "warning",
            f"At σ = {highest['sigma']:g} the count leaves {highest['tie_mass']:.1%} of the training pairs tied: "
            "the tie rule, not the difficulty, would order them.",
        )
    if found["sigma"] is not None:
        tied = found["by_quantile"][1]["tie_mass"]
        yield _say(
            "difficulty",
            "note",
            f"At σ = {found['sigma']:.3f} half of the training pairs have a neighbour and {tied:.1%} are tied: "
            "start from there.",
        )


def _cost(found: Found) -> Sentences:
    cost = found["cost"]
    plain, curriculum = cost["plain"], cost["curriculum"]
    level = "warning" if plain["seconds"] > LONG_TRAINING else "note"
    yield _say(
        "cost",
        level,
        f"A training of {cost['epochs']} epochs takes about {duration(plain['seconds'])} on this machine, "
        f"{duration(curriculum['seconds'])} with the curriculum ({cost['share']:.1%} of the samples); a comparison "
        "needs several seeds of each.",
    )
    if curriculum["last_fraction"] < 1:
        yield _say(
            "cost",
            "warning",
            f"With {cost['epochs']} epochs the schedule ends at {curriculum['last_fraction']:.0%} of the pairs: the "
            "hardest are never trained on.",
        )


_ABOUT: tuple[Callable[[Found], Sentences], ...] = (_rejected, _repeats, _sizes, _coverage, _texts, _ties, _cost)
