"""What the numbers say, as sentences: made from the rows of `paper.json`, so that they cannot disagree with them.

A difference is called one only where its interval excludes zero and its p value, corrected over the table it stands
in, is below 0.05; whatever else is found "could not be told apart".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from class_kit.study.paper.products import CLASS, MAIN, MAIN_DEEP, MATCHED, NEITHER, RANDOM, SAVINGS, STANDARD
from class_kit.study.paper.published import CLAIMED
from class_kit.terminal import one_line

RANKING = "text_to_molecule/split"
NOTHING = "No results of this product are here; `class-kit study paper` makes them."
NO_RESULTS = (
    "The paper's claims have not been settled on real pairs here: no results are committed. "
    "`class-kit study paper` makes them."
)
_LEVEL = 0.05
VERDICTS = ("better", "could not be told apart", "worse")
Rows = Sequence[Mapping[str, Any]]


def verdict(row: Mapping[str, Any]) -> str:
    """ "better", "worse" or "could not be told apart", for a row of differences; a lower Mean Rank is better."""
    low, high = row["difference_low"], row["difference_high"]
    if low is None or high is None or row.get("p_holm", 0.0) >= _LEVEL or low <= 0 <= high:
        return VERDICTS[1]
    return VERDICTS[0] if (low > 0) != (row["metric"] == "mean_rank") else VERDICTS[2]


def product_words(results: Mapping[str, Any], name: str) -> str:
    """What one product found, as Markdown; a sentence that says so where the results do not hold it."""
    product = results["products"].get(name)
    if product is None or not (product.get("summary") or product.get("savings")):
        return NOTHING
    lines = _WORDS[name](product)
    if product.get("failed"):
        lines.append(f"{len(product['failed'])} trainings failed and are left out.")
    return "\n\n".join(lines)


def input_words(results: Mapping[str, Any]) -> str:
    """What was trained on, what was asked, and how an answer is read."""
    if not results["products"]:
        return NO_RESULTS
    inputs = results["inputs"]
    sizes = inputs["sizes"]
    said = f"Trained on {sizes.get('train', 0):,} pairs ({code(inputs['pairs'])})"
    if inputs["extra"]:
        said += (
            f", {inputs['extra']:,} of them extra ones that are unpublished as a set: not the published training set"
        )
    asked = sizes.get(inputs["evaluated"], 0)
    said += f"; {asked:,} queries, ranked among the {asked:,} candidates of their split and among {inputs['pool']:,}."
    if inputs["swapped"]:
        said += " The roles of the test and the validation file are exchanged."
    relatives = inputs["relatives"]
    if relatives:
        said += (
            f" {relatives['queries'] - relatives['apart']:,} of the queries have a near-duplicate among the training "
            f"pairs (equal text {relatives['equal_text']:,}, equal structure without stereochemistry "
            f"{relatives['equal_structure']:,}, mean cosine above {relatives['sigma']:g} {relatives['near']:,})."
        )
    return said + (
        " A difference is called one where its 95 % interval over queries and seeds excludes zero and its p value, "
        f"corrected over its table, is below {_LEVEL:g}."
    )


def differences_words(rows: Rows, metric: str = "hits@1", by: str = "arm") -> str:
    """The rows of one metric by verdict, each with effect and interval."""
    chosen = [row for row in rows if row["metric"] == metric]
    parts = []
    for word in VERDICTS:
        found = [f"{code(row[by])} {effect(row)}" for row in chosen if verdict(row) == word]
        if found:
            parts.append(f"**{word}**: {', '.join(found)}")
    return "; ".join(parts) + "." if parts else "no comparison was possible."


def verdict_counts(results: Mapping[str, Any]) -> dict[str, dict[str, dict[str, int]]]:
    """How many differences in Hits@1 got each verdict, by product and reference."""
    found: dict[str, dict[str, dict[str, int]]] = {}
    for name, product in results["products"].items():
        for row in product.get("differences", []):
            if row["metric"] == "hits@1" and row["ranking"] == RANKING:
                counts = found.setdefault(name, {}).setdefault(row["reference"], dict.fromkeys(VERDICTS, 0))
                counts[verdict(row)] += 1
    return found


def effect(row: Mapping[str, Any]) -> str:
    """A difference with its interval: points for Hits@k, places for Mean Rank."""
    factor, digits = (100, 1) if row["metric"].startswith("hits") else (1, 3 if row["metric"] == "mrr" else 1)
    numbers = [row["difference"], row["difference_low"], row["difference_high"]]
    middle, *ends = (signed(factor * number, digits) for number in numbers if number is not None)
    return f"{middle} ({ends[0]} to {ends[1]})" if len(ends) == 2 else middle


def signed(value: float, digits: int) -> str:
    """A number with its sign, and no minus before a zero."""
    return f"{round(value, digits) + 0.0:+.{digits}f}"


def share(value: float) -> str:
    """A share in whole per cent, without a minus before a zero."""
    return f"{round(value, 2) + 0.0:.0%}"


def seeds_words(product: Mapping[str, Any]) -> str:
    """How many seeds each setting had, and whether that is enough for an interval."""
    count = len(product["settings"]["seeds"])
    if count == 1:
        return "1 seed, intervals over queries alone."
    return f"{count} seeds each" + (", too few for an interval to be trusted." if count == 2 else ".")


def _main(product: Mapping[str, Any]) -> list[str]:
    lines = [share_words(product), *_against(product["differences"])]
    low, high = CLAIMED["hits@1"]
    near, far = CLAIMED["mean_rank"]
    lines.append(
        f"The paper reports {100 * low:+.1f} to {100 * high:+.1f} points of Hits@1 and a Mean Rank {-far:.2f} to "
        f"{-near:.2f} places better, round other backbones."
    )
    if "apart" in product:
        lines.append(apart_words(product))
    return lines


def _against(differences: Rows) -> list[str]:
    """CLASS minus each control, in Hits@1 and Mean Rank, backbone by backbone."""
    lines = []
    for reference in (STANDARD, RANDOM, MATCHED):
        rows = [row for row in rows_against(differences, reference) if row["arm"] == CLASS]
        if rows:
            lines.append(
                f"{CLASS} minus *{reference}*, Hits@1 in points: {differences_words(rows, by='backbone')} "
                f"Mean Rank in places (lower is better): {differences_words(rows, 'mean_rank', 'backbone')}"
            )
    return lines


def apart_words(product: Mapping[str, Any]) -> str:
    """Whether the verdicts on CLASS stay when queries with a near-duplicate are left out."""
    apart = product["apart"]

    def verdicts(rows: Rows) -> dict[tuple[str, str, str], str]:
        return {
            (row["backbone"], row["reference"], row["metric"]): verdict(row)
            for row in rows
            if row["arm"] == CLASS and row["ranking"] == RANKING and row["metric"] != "mrr"
        }

    whole, part = verdicts(product["differences"]), verdicts(apart["differences"])
    changed = [key for key in whole if part.get(key) != whole[key]]
    said = f"On the {apart['queries']:,} queries without a near-duplicate among the training pairs, "
    if not changed:
        return f"{said}all {len(whole)} verdicts on {CLASS} are the same."
    named = ", ".join(
        f"{code(backbone)} minus *{reference}* in {metric}: {part.get((backbone, reference, metric), 'not there')}"
        for backbone, reference, metric in changed
    )
    return f"{said}{len(changed)} of {len(whole)} verdicts on {CLASS} are others ({named})."


def share_words(product: Mapping[str, Any]) -> str:
    """How much of the standard run's samples CLASS used, beside what the paper says of its own."""
    shares = sorted({row["share"] for row in product["summary"] if row["arm"] == CLASS})
    if not shares:
        return f"No training of {CLASS} finished."
    used = f"{shares[0]:.0%}" if f"{shares[0]:.0%}" == f"{shares[-1]:.0%}" else f"{shares[0]:.0%} to {shares[-1]:.0%}"
    low, high = CLAIMED["share"]
    return f"{CLASS} used {used} of the standard run's samples (the paper: {low:.2%} to {high:.2%})."


def _deep(product: Mapping[str, Any]) -> list[str]:
    epochs, seeds = product["settings"]["training"]["epochs"], len(product["settings"]["seeds"])
    first = f"Preliminary, {seeds} seed{'s' if seeds > 1 else ''} and {epochs} epochs, intervals over queries alone."
    return [first, *_against(product["differences"])]


def _ablation(product: Mapping[str, Any]) -> list[str]:
    return [f"Minus *{NEITHER}*, Hits@1 in points: {differences_words(rows_against(product['differences'], NEITHER))}"]


def _intensity(product: Mapping[str, Any]) -> list[str]:
    rows = rows_against(product["differences"], "constant")
    return [
        f"{name}, minus a constant γ, Hits@1 in points: "
        + differences_words([row for row in rows if row["backbone"] == name])
        for name in dict.fromkeys(row["backbone"] for row in rows)
    ]


def _grid(product: Mapping[str, Any]) -> list[str]:
    rows = [row for row in rows_against(product["differences"], STANDARD) if row["metric"] == "hits@1"]
    shares = {row["arm"]: row["share"] for row in product["summary"] if row["ranking"] == RANKING}
    if not rows:
        return [NOTHING]
    counts = counted(rows)
    best = max(rows, key=lambda row: row["difference"])
    return [
        f"{seeds_words(product)} Of {len(rows)} schedules, minus *{STANDARD}* in Hits@1: {counts}. The best of them, "
        f"partly by luck, is {code(best['arm'])}: {effect(best)} points at {shares[best['arm']]:.0%} of the samples "
        f"({verdict(best)})."
    ]


def _sigma(product: Mapping[str, Any]) -> list[str]:
    lines = [seeds_words(product)]
    ties = product.get("ties", [])
    if ties:
        least, most = (pick(ties, key=lambda row: row["largest"]) for pick in (min, max))
        lines.append(
            f"The largest group of pairs with equal counts, which the tie rule orders, holds {least['largest']:.0%} of "
            f"the training pairs at {code(least['arm'])} and {most['largest']:.0%} at {code(most['arm'])}."
        )
    return lines + [_counted(product, reference, "thresholds") for reference in (RANDOM, STANDARD)]


def _measures(product: Mapping[str, Any]) -> list[str]:
    rows = [row for row in rows_against(product["differences"], RANDOM) if row["arm"] != STANDARD]
    said = f"Minus *{RANDOM}* with the same schedule, Hits@1 in points: {differences_words(rows)}"
    return [f"{seeds_words(product)} {said}"]


def _savings(product: Mapping[str, Any]) -> list[str]:
    said = []
    for row in product["savings"]:
        if row["arm"] == CLASS:
            seconds = share(row["seconds"])
            if row["seconds_low"] is not None:
                seconds += f" ({share(row['seconds_low'])} to {share(row['seconds_high'])})"
            said.append(f"{code(row['backbone'])} {share(row['samples'])} and {seconds}")
    if not said:
        return [f"No training of {CLASS} finished."]
    return [
        f"Samples and seconds of training that {CLASS} saved of the standard run, as measured: {', '.join(said)}. "
        "Its order needs the neighbour counts, which are not in these seconds."
    ]


def _counted(product: Mapping[str, Any], reference: str, what: str) -> str:
    rows = [
        row
        for row in rows_against(product["differences"], reference)
        if row["metric"] == "hits@1" and row["arm"] not in (RANDOM, STANDARD)
    ]
    clear = [f"{code(row['arm'])} {effect(row)}" for row in rows if verdict(row) != VERDICTS[1]]
    named = f" ({', '.join(clear)})" if clear else ""
    return f"Of {len(rows)} {what}, minus *{reference}* in Hits@1: {counted(rows)}{named}."


def counted(rows: Rows) -> str:
    """How many rows of differences get each verdict."""
    found = {word: sum(verdict(row) == word for row in rows) for word in VERDICTS}
    return ", ".join(f"{number} {word}" for word, number in found.items())


def rows_against(differences: Rows, reference: str) -> list[Mapping[str, Any]]:
    """Differences from one reference, text→molecule in the pool of the split."""
    return [row for row in differences if row["reference"] == reference and row["ranking"] == RANKING]


def code(value: Any) -> str:
    """A name from a file as Markdown shows it, whatever it holds."""
    return "`" + one_line(value, 60).replace("`", "'") + "`"


_WORDS: dict[str, Callable[[Mapping[str, Any]], list[str]]] = {
    MAIN: _main,
    MAIN_DEEP: _deep,
    "ablation": _ablation,
    "intensity": _intensity,
    "grid": _grid,
    "sigma": _sigma,
    "measures": _measures,
    SAVINGS: _savings,
}
