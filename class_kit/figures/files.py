"""Figures on disk: PDF and PNG, each beside a JSON with the data and the parameters that make them again."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from class_kit.errors import InputError
from class_kit.figures.drawings import draw_again, drawing_of
from class_kit.figures.styles import active_style, find_style, styled
from class_kit.files import atomic_write, write_text

# A figure's data are a few hundred kilobytes at most; a file far beyond that is something else.
_LARGEST = 50 * 2**20


def save(fig: Figure, out: str | os.PathLike[str], name: str, parameters: Mapping[str, Any]) -> Path:
    """Write `figures/<name>.pdf`, `.png` and `.json` (what regenerates it) under the run folder `out`.

    A figure made by `draw` or `molecule_grid` leaves its data in the JSON, so that `class-kit figures` can draw it
    again for a paper. Dates are left out of the files, so that equal figures are equal bytes.

    Returns
    -------
    Path
        The PNG.

    Raises
    ------
    InputError
        If `name` is not a plain file name.
    """
    if not name or Path(name).name != name or name.startswith("."):
        raise InputError(f"name={name!r}: expected a plain file name without folders")
    return _write(fig, Path(out) / "figures", name, dict(parameters))


def redraw_run(
    run: str | os.PathLike[str],
    style: str,
    out: str | os.PathLike[str] | None = None,
    say: Callable[[str], None] | None = None,
) -> list[Path]:
    """Draw a finished run's figures again from their recorded data, in the style of a paper or a slide.

    Parameters
    ----------
    run : path
        A run's folder, or a folder of figures with their JSON.
    style : str
        "acl", "nature", "slides" or "notebook".
    out : path, optional
        Where to; `<run>/figures-<style>` by default.
    say : callable, optional
        Receives a line about each figure that cannot be drawn again, for want of recorded data.

    Returns
    -------
    list of Path
        The PDFs written.

    Raises
    ------
    InputError
        For an unknown style, a folder without figures, a record that cannot be read or drawn, and `out` being the
        folder of the originals.
    """
    find_style(style)
    folder = Path(run) / "figures" if (Path(run) / "figures").is_dir() else Path(run)
    records = {path: read_record(path) for path in sorted(folder.glob("*.json")) if path.with_suffix(".png").is_file()}
    if not records:
        raise InputError(f"{str(run)!r}: no figures with their JSON there; expected a run's folder")
    target = Path(out) if out is not None else Path(run) / f"figures-{style}"
    if target.resolve() == folder.resolve():
        raise InputError(f"--out {str(target)!r}: these are the originals; choose another folder")
    written = []
    for path, record in records.items():
        if record["drawing"] is None:
            if say is not None:
                say(f"{path.stem}: not drawn again, its data were not recorded")
            continue
        written.append(_redraw(path, record, style, target))
    if not written:
        raise InputError(f"{str(run)!r}: none of its {len(records)} figures has recorded data; run it again")
    return written


def read_record(path: Path) -> dict[str, Any]:
    """The JSON beside a figure: `figure`, `parameters`, `drawing` (None where it was not recorded) and `style`.

    Raises
    ------
    InputError
        For a file that is no such record.
    """
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError(f"larger than {_LARGEST / 2**20:.0f} MiB")
        record = json.loads(path.read_text(encoding="utf-8"))
        drawing = record.get("drawing")
        if not isinstance(record["parameters"], dict) or not isinstance(drawing, dict | None):
            raise ValueError("expected objects as parameters and drawing")
        return {**record, "drawing": drawing}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{str(path)!r} is no record of a figure: {error}") from None


def _redraw(path: Path, record: Mapping[str, Any], style: str, target: Path) -> Path:
    with styled(style):
        try:
            fig = draw_again(record["drawing"])
        except InputError as error:
            raise InputError(f"{str(path)!r}: {error}") from error
        try:
            return _write(fig, target, path.stem, record["parameters"]).with_suffix(".pdf")
        except ValueError as error:
            # an equation in a label is read only now
            raise InputError(f"{str(path)!r}: this figure's data cannot be drawn: {error}") from error
        finally:
            plt.close(fig)


def _write(fig: Figure, folder: Path, name: str, parameters: Mapping[str, Any]) -> Path:
    dateless: dict[str, dict[str, Any]] = {
        "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
        "png": {"Software": None},
    }
    for suffix, metadata in dateless.items():
        with atomic_write(folder / f"{name}.{suffix}") as temporary:
            fig.savefig(temporary, format=suffix, dpi=200, metadata=metadata)
    record = {
        "figure": name,
        "parameters": dict(parameters),
        "style": active_style().name,
        "drawing": drawing_of(fig),
    }
    # Keys keep their order, which is that of a legend; on one line the data take a third of an indented list's space.
    text = json.dumps(record, ensure_ascii=False, allow_nan=False)
    write_text(folder / f"{name}.json", text + "\n")
    return folder / f"{name}.png"
