"""Draw molecules: as bitmaps for interactive views, as vector graphics for printed figures."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from io import BytesIO
from statistics import median
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Outline

from class_kit.errors import InputError
from class_kit.figures.layout import as_text, draw, own_axes, panel
from class_kit.molecules.structures import parse

# Drawing units of a molecule's field; every molecule gets the same field and at most this bond length, so that a
# small molecule does not look like a large one.
FIELD = (360, 300)
_BOND = 46.0
# a grid's bonds are as long as those of its largest molecule, but no shorter than this for the sake of one giant
_SHORTEST = 12.0
# a second for 800 atoms, seven minutes for 5,000: computing 2D coordinates takes the time
_ATOMS = 600
_CAPTION = 120
_CODES = {
    "M": Outline.MOVETO,
    "L": Outline.LINETO,
    "Q": Outline.CURVE3,
    "C": Outline.CURVE4,
    "Z": Outline.CLOSEPOLY,
}


def molecule_png(smiles: str, size: tuple[int, int] = FIELD) -> bytes:
    """PNG drawing of one molecule; for a SMILES that cannot be read or drawn, the picture says so."""
    from PIL import Image
    from rdkit.Chem.Draw import rdMolDraw2D

    drawn = Image.open(BytesIO(_drawn(smiles, rdMolDraw2D.MolDraw2DCairo(*size))))
    # a quarter of the size in all colours, and there are hundreds in a page
    drawn.quantize(16, Image.Quantize.MAXCOVERAGE).save(stream := BytesIO(), "PNG")
    return stream.getvalue()


def molecule(smiles: str, caption: str = "", ax: Axes | None = None, *, bond: float = _BOND) -> Axes:
    """Draw one molecule as vector graphics with its caption (plain text, never read as TeX).

    RDKit's drawing is converted path by path, so that it stays sharp at any size in a PDF. `bond` is RDKit's
    `fixedBondLength` in a field of 360 by 300; bonds are shorter where the molecule would not fit.
    """
    ax = ax or own_axes(ratio=1.0)
    # thinner where bonds are short, so that the lines of a double bond stay apart
    scale = mpl.rcParams["lines.linewidth"] * 0.45 * max(0.4, bond / _BOND)
    for (fill, stroke, width), outline in _outlines(smiles, bond).items():
        line = 0 if stroke == "none" else width * scale
        ax.add_patch(PathPatch(outline, facecolor=fill, edgecolor=stroke, linewidth=line, capstyle="butt"))
    ax.set(xlim=(0, FIELD[0]), ylim=(FIELD[1], 0), aspect="equal")
    ax.axis("off")
    ax.set_title(as_text(caption, _CAPTION), fontsize="x-small", wrap=True)
    return ax


def molecule_grid(smiles: Sequence[str], captions: Sequence[str] | None = None, per_row: int = 4) -> Figure:
    """Draw molecules in rows, each with its caption (plain text, never read as TeX), with bonds of one length.

    Raises
    ------
    InputError
        If captions and molecules differ in number, or there is nothing to draw.
    """
    captions = [""] * len(smiles) if captions is None else captions
    if not len(smiles) or len(captions) != len(smiles):
        raise InputError(f"{len(smiles)} molecules and {len(captions)} captions: expected equal numbers, at least one")
    columns = min(per_row, len(smiles))
    rows = math.ceil(len(smiles) / columns)
    bond = max(_SHORTEST, min(map(_fitting_bond, smiles)))
    cells = [panel(molecule, text, caption, bond=bond) for text, caption in zip(smiles, captions, strict=True)]
    return draw(*cells, columns=columns, width="text", ratio=rows / columns, fraction=columns / per_row)


def _fitting_bond(smiles: str) -> float:
    """The bond length, as `molecule` takes it, at which a molecule just fits, or the longest."""
    from rdkit.Chem.Draw import rdMolDraw2D

    drawer, (found, _) = rdMolDraw2D.MolDraw2DSVG(*FIELD), parse(smiles)
    if found is None or not found.GetNumBonds() or found.GetNumAtoms() > _ATOMS:
        return _BOND
    _drawn(smiles, drawer)
    ends = [
        [drawer.GetDrawCoords(at) for at in (bond.GetBeginAtomIdx(), bond.GetEndAtomIdx())] for bond in found.GetBonds()
    ]
    # what RDKit's option sets is the length of an Å, and its coordinates have bonds of 1.5 Å
    return min(_BOND, median(math.dist((a.x, a.y), (b.x, b.y)) for a, b in ends) / 1.5)


def _drawn(smiles: str, drawer: Any, bond: float = _BOND) -> Any:
    """The drawing as text (SVG) or bytes (PNG), depending on the drawer."""
    from rdkit import rdBase
    from rdkit.Chem.Draw import rdMolDraw2D
    from rdkit.Geometry import Point2D

    found, _ = parse(smiles)
    options = drawer.drawOptions()
    options.padding = 0.08
    options.fixedBondLength = bond
    if found is None or found.GetNumAtoms() > _ATOMS:
        said = "unreadable structure" if found is None else f"{found.GetNumAtoms():,} atoms: too many to draw"
        # without it the picture is transparent
        drawer.ClearDrawing()
        drawer.SetFontSize(20)
        drawer.DrawString(said, Point2D(drawer.Width() / 2, drawer.Height() / 2), rawCoords=True)
    else:
        with rdBase.BlockLogs():
            rdMolDraw2D.PrepareAndDrawMolecule(drawer, found)
    drawer.FinishDrawing()
    return drawer.GetDrawingText()


def _outlines(smiles: str, bond: float) -> dict[tuple[str, str, float], Outline]:
    """Compound outlines by (fill, stroke, stroke width): a few patches per molecule instead of one per bond."""
    from rdkit.Chem.Draw import rdMolDraw2D

    text = str(_drawn(smiles, rdMolDraw2D.MolDraw2DSVG(*FIELD), bond))
    parts: dict[tuple[str, str, float], list[Outline]] = {}
    # RDKit wrote this text itself; the declared encoding is of no concern to a str
    for element in ElementTree.fromstring(re.sub(r"^<\?xml[^>]*\?>\s*", "", text)).iter():
        own = element.attrib
        look = own | dict(re.findall(r"([\w-]+):([^;]*)", own.get("style", "")))
        # the outline of a space is empty
        if own.get("d", "").strip():
            key = (look.get("fill", "none"), look.get("stroke", "none"), float(look.get("stroke-width", "0px")[:-2]))
            parts.setdefault(key, []).append(_outline(own["d"]))
        elif element.tag.endswith("}ellipse"):
            # a dot of a radical
            dot = Outline.circle((float(own["cx"]), float(own["cy"])), float(own["rx"]))
            parts.setdefault((look["fill"], "none", 0.0), []).append(dot)
    return {key: Outline.make_compound_path(*found) for key, found in parts.items()}


def _outline(steps: str) -> Outline:
    """The path that an SVG's `d` describes, in RDKit's absolute steps."""
    points: list[tuple[float, float]] = []
    codes: list[int] = []
    for letter, numbers in re.findall(r"([MLQCZ])([^MLQCZ]*)", steps):
        values = [float(number) for number in re.findall(r"-?[\d.]+", numbers)]
        added = list(zip(values[::2], values[1::2], strict=True)) or points[-1:]
        points += added
        codes += [int(_CODES[letter])] * len(added)
    return Outline(points, codes)
