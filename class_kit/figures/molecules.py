"""Molecules as drawings: bitmaps for interactive views, lines and letters for figures that are printed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse, PathPatch
from matplotlib.path import Path as Outline

from class_kit.errors import InputError
from class_kit.figures.layout import draw, own_figure, panel
from class_kit.figures.style import as_text
from class_kit.molecules.structures import parse

# Drawing units of a molecule's field; every molecule gets the same field and at most this bond length, so that a
# small molecule does not look like a large one.
FIELD = (360, 300)
_BOND = 46.0
# a second for 800 atoms, seven minutes for 5,000: placing them on paper is what takes the time
_ATOMS = 600
_CAPTION = 120
_STEP = re.compile(r"([MLQCZ])|(-?\d+(?:\.\d+)?)[ ,]+(-?\d+(?:\.\d+)?)")
_CODES = {"M": Outline.MOVETO, "L": Outline.LINETO, "Q": Outline.CURVE3, "C": Outline.CURVE4}


def molecule_png(smiles: str, size: tuple[int, int] = FIELD) -> bytes:
    """PNG drawing of one molecule; a SMILES that the kit does not read or draw becomes a field that says so."""
    from rdkit.Chem.Draw import rdMolDraw2D

    return bytes(_drawn(smiles, rdMolDraw2D.MolDraw2DCairo(*size)))


@own_figure(ratio=1.0)
def molecule(smiles: str, caption: str = "", ax: Axes | None = None) -> Axes:
    """One molecule in lines and letters over its caption (plain text: no caption is read as TeX).

    RDKit's drawing is taken over path by path: in a PDF it stays sharp at any size, which a bitmap does not.
    """
    assert ax is not None
    scale = mpl.rcParams["lines.linewidth"] * 0.45
    for (fill, stroke, width), outline in _outlines(smiles).items():
        line = 0 if stroke == "none" else width * scale
        ax.add_patch(PathPatch(outline, facecolor=fill, edgecolor=stroke, linewidth=line, capstyle="butt"))
    for x, y, rx, ry, colour in _spots(smiles):
        ax.add_patch(Ellipse((x, y), 2 * rx, 2 * ry, facecolor=colour, linewidth=0))
    ax.set(xlim=(0, FIELD[0]), ylim=(FIELD[1], 0), aspect="equal")
    ax.axis("off")
    ax.set_title(as_text(caption, _CAPTION), fontsize="x-small", wrap=True)
    return ax


def molecule_grid(smiles: Sequence[str], captions: Sequence[str] | None = None, per_row: int = 4) -> Figure:
    """Draw molecules in rows, each over its caption (plain text: no caption is read as TeX).

    Raises
    ------
    InputError
        If captions and molecules differ in number, or there is nothing to draw.
    """
    captions = [""] * len(smiles) if captions is None else captions
    if not len(smiles) or len(captions) != len(smiles):
        raise InputError(f"{len(smiles)} molecules and {len(captions)} captions: expected as many, at least one")
    columns = min(per_row, len(smiles))
    rows = math.ceil(len(smiles) / columns)
    cells = [panel(molecule, text, caption) for text, caption in zip(smiles, captions, strict=True)]
    return draw(*cells, columns=columns, width="text", ratio=rows / columns, fraction=columns / per_row)


def _drawn(smiles: str, drawer: Any) -> Any:
    """The text of a drawing (SVG) or its bytes (PNG), whichever the drawer makes."""
    from rdkit import rdBase
    from rdkit.Chem.Draw import rdMolDraw2D
    from rdkit.Geometry import Point2D

    found, _ = parse(smiles)
    options = drawer.drawOptions()
    options.padding = 0.08
    options.fixedBondLength = _BOND
    if found is None or found.GetNumAtoms() > _ATOMS:
        said = "unreadable structure" if found is None else f"{found.GetNumAtoms():,} atoms: too many to draw"
        drawer.SetFontSize(20)
        drawer.DrawString(said, Point2D(drawer.Width() / 2, drawer.Height() / 2), rawCoords=True)
    else:
        with rdBase.BlockLogs():
            rdMolDraw2D.PrepareAndDrawMolecule(drawer, found)
    drawer.FinishDrawing()
    return drawer.GetDrawingText()


@lru_cache(maxsize=256)
def _elements(smiles: str) -> tuple[ElementTree.Element, ...]:
    from rdkit.Chem.Draw import rdMolDraw2D

    text = str(_drawn(smiles, rdMolDraw2D.MolDraw2DSVG(*FIELD)))
    # RDKit wrote this text itself; the declared encoding is of no concern to a str
    return tuple(ElementTree.fromstring(re.sub(r"^<\?xml[^>]*\?>\s*", "", text)).iter())


def _outlines(smiles: str) -> dict[tuple[str, str, float], Outline]:
    """Compound outlines by (fill, stroke, stroke width): a few patches a molecule instead of one for each bond."""
    parts: dict[tuple[str, str, float], list[Outline]] = {}
    for element in _elements(smiles):
        # the outline of a space is empty
        if element.tag.endswith("}path") and element.get("d", "").strip():
            look = _look(element)
            key = (look.get("fill", "none"), look.get("stroke", "none"), float(look.get("stroke-width", "0px")[:-2]))
            parts.setdefault(key, []).append(_outline(element.get("d", "")))
    return {key: Outline.make_compound_path(*found) for key, found in parts.items()}


def _spots(smiles: str) -> list[tuple[float, float, float, float, str]]:
    """Filled ellipses, with which RDKit marks radicals: centre, radii, colour."""
    found = []
    for element in _elements(smiles):
        if element.tag.endswith("}ellipse"):
            x, y, rx, ry = (float(element.get(name, 0)) for name in ("cx", "cy", "rx", "ry"))
            found.append((x, y, rx, ry, _look(element).get("fill", "#000000")))
    return found


def _look(element: ElementTree.Element) -> dict[str, str]:
    written = dict(part.split(":", 1) for part in element.get("style", "").split(";") if ":" in part)
    direct = {name: element.get(name, "") for name in ("fill", "stroke", "stroke-width") if element.get(name)}
    return {name.strip(): value.strip() for name, value in (written | direct).items()}


def _outline(steps: str) -> Outline:
    points: list[tuple[float, float]] = []
    codes: list[int] = []
    code = int(Outline.MOVETO)
    for letter, x, y in _STEP.findall(steps):
        if letter == "Z":
            points.append(points[-1])
            codes.append(int(Outline.CLOSEPOLY))
        elif letter:
            code = int(_CODES[letter])
        else:
            points.append((float(x), float(y)))
            codes.append(code)
            # further points after a move are lines, as SVG has it
            code = int(Outline.LINETO) if code == Outline.MOVETO else code
    return Outline(points, codes)
