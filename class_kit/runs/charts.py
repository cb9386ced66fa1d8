"""The views that need no model as charts with controls of their own, for pages without a kernel.

For every position of the controls the numbers and the sentence are computed beforehand, by the functions that the
widgets call; the page only chooses among them. A view is plain data: a Vega-Lite chart (`spec`), its `controls`, and
what is shown at each of their positions (`says`), by their values joined with "|"; with it, `cards` to choose from, or
`lines` of code in which $NAME stands for a control's value.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any

import altair as alt
import numpy as np

from class_kit import figures
from class_kit.curriculum import make_schedule
from class_kit.curriculum.intensity import INTENSITIES, make_intensity
from class_kit.curriculum.schedules import SHAPES
from class_kit.difficulty import tie_mass
from class_kit.figures.layout import PALETTE
from class_kit.neighbours import neighbour_counts
from class_kit.pairs import PairSet
from class_kit.widgets.curve_views import cost_in_words, intensity_in_words, schedule_lines
from class_kit.widgets.pair_views import counts_in_words
from class_kit.widgets.parts import pair_card

SIGMAS = np.round(np.linspace(0.80, 0.995, 40), 3).tolist()
STARTS = np.round(np.arange(0.05, 1.001, 0.05), 2).tolist()
GROWTHS = np.round(np.arange(0.0, 0.201, 0.01), 2).tolist()
# decimals of a fraction or an intensity: more than a chart can show
DECIMALS = 4
# with its axis, a chart fits a phone's 390 pixels
_SIZE: dict[str, Any] = {"width": 280, "height": 190}


def explore_difficulty(t: np.ndarray, m: np.ndarray, pairs: PairSet, show: int = 6) -> dict[str, Any]:
    """Choose σ and a bin of N_i; see the distribution, what the ties decide, and pairs of that bin.

    Parameters
    ----------
    t, m : (L, d_t) and (L, d_m) float
    pairs : PairSet of the same L pairs
    show : int
        Pairs of a bin to draw. Bins share them as far as possible, as every drawing makes the page larger.
    """
    counts = neighbour_counts(t, m, sigma=SIGMAS)
    edges, names = figures.doubling_bins(0, counts.max())
    rows: dict[int, int] = {}
    bars, curves, says = [], [], {}
    for value, row in zip(SIGMAS, counts, strict=True):
        shares = {"in the largest tie": tie_mass(row), "without a neighbour": (row == 0).mean()}
        curves += [{"sigma": value, "which": which, "share": float(share)} for which, share in shares.items()]
        for at, name in enumerate(names, start=1):
            inside = np.flatnonzero(np.digitize(row, edges) == at).tolist()
            drawn = sorted(inside, key=lambda pair: rows.get(pair, len(pairs) + pair))[:show]
            cards = [[rows.setdefault(pair, len(rows)), int(row[pair])] for pair in drawn]
            bars.append({"sigma": value, "bin": name, "pairs": len(inside)})
            words = f"In this bin: {len(inside):,} pairs, of which {len(drawn)} are drawn."
            says[_at(value, name)] = {"words": f"{counts_in_words(row, value)} {words}", "cards": cards}
    spec = _difficulty_chart(bars, curves, names, len(pairs)).to_dict()
    drawings = [pair_card(pairs, pair, "N") for pair in rows]
    return {"spec": spec, "controls": ["sigma", "chosen_bin"], "says": says, "cards": drawings}


def _difficulty_chart(bars: list[Any], curves: list[Any], names: list[str], pairs: int) -> Any:
    """The bars of the bins at one σ, over the curves of all σ."""
    sigma = _slider("sigma", "σ", SIGMAS, SIGMAS[-1])
    menu = alt.binding_select(options=names, name="neighbours ")
    # a bar can be clicked as well, and a click beside the bars changes nothing
    click: dict[str, Any] = {"on": "click", "clear": False, "toggle": False}
    chosen = alt.selection_point("chosen", fields=["bin"], value=names[0], bind=menu, **click)
    here = alt.datum.sigma == sigma
    powers = [0, *(10**power for power in range(len(str(pairs))))]
    height = alt.Y("pairs:Q", title="pairs", axis=alt.Axis(values=powers))
    histogram = (
        _chart(bars)
        .transform_filter(here)
        .mark_bar(stroke="#555", color=_colour(0), cursor="pointer")
        .encode(
            alt.X("bin:N", title="neighbours Nᵢ", scale=alt.Scale(domain=names), axis=alt.Axis(labelAngle=-40)),
            height.scale(type="symlog", domain=[0, pairs]),
            fillOpacity=alt.condition(chosen, alt.value(1), alt.value(0)),
            tooltip=["bin:N", "pairs:Q"],
        )
        .add_params(sigma, chosen)
    )
    x = alt.X("sigma:Q", title="threshold σ", scale=alt.Scale(domain=[SIGMAS[0], SIGMAS[-1]]))
    share = alt.Y("share:Q", title="share of pairs", scale=alt.Scale(domain=[0, 1]))
    groups = _groups("which", dict.fromkeys(row["which"] for row in curves), alt.StrokeDash)
    line = _chart(curves).mark_line().encode(x, share, *groups)
    rule = _chart(curves).transform_filter(here).mark_rule(color="#555").encode(x)
    return alt.vconcat(histogram, line + rule).resolve_legend(color="independent", strokeDash="independent")


def design_schedule(pairs: int, epochs: int, batch_size: int) -> dict[str, Any]:
    """Set α, β and the shape; see λ_k and what it costs in a training with so many pairs, epochs and batches."""
    curves, says = [], {}
    for start, growth, shape in product(STARTS, GROWTHS, SHAPES):
        schedule = make_schedule(shape, start, growth)
        curve = np.array([schedule(epoch) for epoch in range(1, epochs + 1)])
        fractions = np.round(curve, DECIMALS).tolist()
        curves.append({"start": start, "growth": growth, "shape": shape, "fraction": fractions})
        says[_at(start, growth, shape)] = {"words": cost_in_words(curve, pairs, batch_size)}
    shapes = alt.param("shape", value="linear", bind=alt.binding_select(options=list(SHAPES), name="shape "))
    sliders = _slider("start", "start α", STARTS, 0.4), _slider("growth", "growth β", GROWTHS, 0.03)
    chart = (
        _chart(curves)
        .transform_filter("datum.shape === shape && datum.start === start && datum.growth === growth")
        .transform_flatten(["fraction"])
        .transform_window(epoch="row_number()")
        .mark_area(interpolate="step", line={"color": _colour(0)}, color=_colour(0), fillOpacity=0.25)
        .encode(_epochs(), alt.Y("fraction:Q", title="fraction λₖ", scale=alt.Scale(domain=[0, 1])))
        .add_params(*sliders, shapes)
    )
    lines = schedule_lines("'$shape', start=$start, growth=$growth", epochs, batch_size)
    return {"spec": chart.to_dict(), "controls": ["start", "growth", "shape"], "says": says, "lines": lines}


def compare_intensities(epochs: int) -> dict[str, Any]:
    """Choose intensities and the number of epochs; see γ_k and how much of the full weight the epochs get."""
    curves, says = [], {}
    lengths = list(range(2, max(100, epochs) + 1))
    for length in lengths:
        found = {}
        for name in INTENSITIES:
            gamma = make_intensity(name, length)
            found[name] = np.array([gamma(epoch) for epoch in range(1, length + 1)])
            values = np.round(found[name], DECIMALS).tolist()
            curves.append({"epochs": length, "name": name, "intensity": values})
        says[_at(length)] = {"words": "\n".join(intensity_in_words(*each) for each in found.items())}
    boxes = [
        alt.param(f"show_{name}", value=name in ("sigmoid", "inverse"), bind=alt.binding_checkbox(name=f"{name} "))
        for name in INTENSITIES
    ]
    chosen = " || ".join(f"show_{name} && datum.name === '{name}'" for name in INTENSITIES)
    chart = (
        _chart(curves)
        .transform_filter(f"datum.epochs === epochs && ({chosen})")
        .transform_flatten(["intensity"])
        .transform_window(epoch="row_number()", groupby=["name"])
        .mark_line(point=True)
        .encode(
            _epochs(),
            alt.Y("intensity:Q", title="intensity γₖ", scale=alt.Scale(domain=[0, 1])),
            *_groups("name", INTENSITIES, alt.Shape),
        )
        .add_params(*boxes, _slider("epochs", "epochs", lengths, epochs))
    )
    return {"spec": chart.to_dict(), "controls": ["epochs"], "says": says}


def _at(*values: Any) -> str:
    """The key of a position, with numbers as JavaScript writes them."""
    return "|".join(value if isinstance(value, str) else f"{value:g}" for value in values)


def _slider(name: str, label: str, values: list[Any], value: Any) -> Any:
    step = round(values[1] - values[0], DECIMALS)
    bind = alt.binding_range(min=values[0], max=values[-1], step=step, name=f"{label} ")
    return alt.param(name, value=value, bind=bind)


def _chart(rows: list[dict[str, Any]]) -> Any:
    return alt.Chart(alt.InlineData(values=rows), **_SIZE)


def _epochs() -> Any:
    return alt.X("epoch:Q", title="epoch k", axis=alt.Axis(tickMinStep=1), scale=alt.Scale(zero=False, nice=False))


def _groups(field: str, names: Iterable[str], channel: Any) -> list[Any]:
    """Lines told apart by colour and by one more channel, named above the chart."""
    legend, domain = alt.Legend(orient="top", title=None, columns=3), list(names)
    scale = alt.Scale(domain=domain, range=[_colour(at) for at in range(len(domain))])
    return [
        alt.Color(f"{field}:N", legend=legend, scale=scale),
        channel(f"{field}:N", legend=legend, scale=alt.Scale(domain=domain)),
    ]


def _colour(at: int) -> str:
    from matplotlib.colors import to_hex

    return to_hex(PALETTE[at])
