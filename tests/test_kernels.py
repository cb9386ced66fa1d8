"""Real kernels: what they get, how they fail, and that none survives its run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest

from class_kit import runs
from class_kit.cli import main
from tests.faulty_places import is_gone, wait_until
from tests.notebook_tools import entry_of, quiet, write_notebook

NASTY = 'it\'s "quoted" """and\nmore\\ {out} \u2028 {{x}} %s $(touch pwned) `id`\x1b[2J'
# Says which process it is, and sleeps where the file `again` does not exist.
LONG = """import os, pathlib, time
pathlib.Path(f'pid{number}.part').write_text(str(os.getpid()))
os.replace(f'pid{number}.part', f'pid{number}')
time.sleep(0 if pathlib.Path('again').exists() else 120)"""


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """One run on real kernels: a good notebook, and every way in which a notebook fails."""
    here = tmp_path_factory.mktemp("ran")
    good = write_notebook(
        here / "01_good.ipynb",
        ['word = "x"  # any text', "share = 0.5  # a share", "seeds = [0]  # seeds"],
        "import os, sys\n"
        "from class_kit.runs import record\n"
        "results = dict(word=word, share=share, seeds=seeds, pairs=pairs, python=sys.executable, folder=os.getcwd(),\n"
        "               hash=os.environ['PYTHONHASHSEED'], bars=os.environ['CLASS_KIT_PROGRESS'])\n"
        "record(out, '01_good', results)",
        "import pathlib\nplace = pathlib.Path(out, 'figures')\nplace.mkdir()\n_ = (place / 'a.png').write_bytes(b'x')",
    )
    hidden = write_notebook(
        here / "02_hidden.ipynb",
        [],
        "import ipywidgets as w\nbox = w.Output()\n"
        "@box.capture()\ndef changed(_):\n    raise KeyError('hidden in a callback')\nchanged(1)\nbox",
    )
    dies = write_notebook(here / "03_dies.ipynb", [], "print('before')", "import os\nos._exit(3)")
    ends = write_notebook(here / "04_ends.ipynb", [], "import sys\nsys.exit(0)", "print('never')")
    raises = write_notebook(here / "05_raises.ipynb", [], "raise ValueError('bad \\x1b[2J \\u202e value')")
    said: list[str] = []
    books, parameters = [good, hidden, dies, ends, raises], {"word": NASTY, "share": 1, "seeds": (np.int64(3), 4)}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        result = runs.run_notebooks(books, parameters, say=said.append)
        yield SimpleNamespace(here=here, result=result, folder=here / result.folder, said="\n".join(said))


def test_notebook_gets_its_parameters_as_data_and_this_interpreter(ran: SimpleNamespace):
    metrics = json.loads((ran.folder / "metrics.json").read_text(encoding="utf-8"))
    given = {"word": NASTY, "share": 1.0, "seeds": [3, 4], "pairs": "corpus"}
    around = {"python": sys.executable, "folder": str(ran.here), "hash": "0", "bars": "0"}
    assert metrics == {"01_good": given | around}
    assert not (ran.here / "pwned").exists()


def test_every_failure_is_seen_and_the_others_go_on(ran: SimpleNamespace):
    assert (ran.result.exit_code, ran.result.done) == (1, False)
    failed = ("02_hidden", "03_dies", "04_ends", "05_raises")
    assert ran.result.status == {"01_good": "finished"} | dict.fromkeys(failed, "failed")
    assert "hidden in a callback" in entry_of(ran.folder, "02_hidden")["error"]
    assert entry_of(ran.folder, "03_dies")["error"].startswith("cell 5: DeadKernelError")
    assert "SystemExit" in entry_of(ran.folder, "04_ends")["error"]
    assert "cell 4: ValueError: bad \\x1b[2J \\u202e value" in ran.said
    assert "\x1b" not in ran.said


def test_executed_notebooks_hold_what_was_reached_and_no_paths_or_times(ran: SimpleNamespace):
    entry = entry_of(ran.folder, "01_good")
    assert set(entry["files"]) == {"figures/a.png", "notebooks/01_good.ipynb", "results/01_good.json"}
    text = (ran.folder / "notebooks" / "01_good.ipynb").read_text(encoding="utf-8")
    assert str(ran.here) not in text
    assert "papermill" not in text
    assert "iopub" not in text
    assert text.count('"id": "injected-parameters"') == 1
    partly = nbformat.read(ran.folder / "notebooks" / "03_dies.ipynb", as_version=4)
    assert any("before" in str(cell.get("outputs")) for cell in partly.cells)
    kept = sorted(path.name for path in (ran.folder / "notebooks").iterdir())
    assert kept == [f"{stem}.ipynb" for stem in ran.result.status]


def test_an_executed_notebook_is_run_once_more(ran: SimpleNamespace, here: Path):
    """As one copied out of a run: its injected cell is replaced and what it showed is gone before it runs."""
    from class_kit.runs import kernels

    before = nbformat.read(ran.folder / "notebooks" / "05_raises.ipynb", as_version=4)
    before.cells[-1].source = "print(out)"
    assert kernels.execute(before, {"out": "new"}, here / "again.ipynb") is None
    again = nbformat.read(here / "again.ipynb", as_version=4)
    assert [cell.source for cell in again.cells if cell.id == "injected-parameters"] == ['# Parameters\nout = "new"\n']
    assert [output.text for output in again.cells[-1].outputs] == ["new\n"]


def test_interrupted_run_stops_its_kernel_and_continues(here: Path):
    book = write_notebook(here / "01_long.ipynb", ["number = 0"], LONG)
    process = start_run(here, book.name)
    kernel = wait_for_pid(here / "pid0", process)
    assert main(["run", book.name]) == 2, "another process is running here"
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "interrupted" in output[0]
    wait_until(lambda: is_gone(kernel))
    folder = here / "runs" / "default"
    assert entry_of(folder, "01_long")["status"] == "interrupted"
    assert not (folder / "done").exists()

    (here / "pid0").unlink()
    process = start_run(here, book.name)
    kernel = wait_for_pid(here / "pid0", process)
    process.kill()
    process.communicate(timeout=60)
    assert entry_of(folder, "01_long")["status"] == "running"
    assert not (folder / "done").exists()
    wait_until(lambda: is_gone(kernel))
    (here / "again").touch()
    assert runs.run_notebooks([book], say=quiet).done


def test_an_interrupted_sweep_ends_its_kernels_and_continues(here: Path):
    book = write_notebook(here / "01_long.ipynb", ["number = 0"], LONG)
    process = start_run(here, book.name, "--sweep", "number=0,1,2", "--jobs", "2", "--out", "mine")
    found = [wait_for_pid(here / f"pid{number}", process) for number in (0, 1)]
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command continues" in output[0]
    wait_until(lambda: all(map(is_gone, found)))
    assert not (here / "mine" / "done").exists()
    (here / "again").touch()
    assert runs.sweep_notebooks([book], {"number": [0]}, out="mine", jobs=1, say=quiet).done


def start_run(here: Path, *arguments: str) -> subprocess.Popen[str]:
    root = str(Path(runs.__file__).resolve().parents[2])
    return subprocess.Popen(
        [sys.executable, "-m", "class_kit", "run", *arguments],
        cwd=here,
        env=os.environ | {"PYTHONPATH": root},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_pid(path: Path, process: subprocess.Popen[str]) -> int:
    def is_there() -> bool:
        assert process.poll() is None, process.communicate()
        return path.exists()

    wait_until(is_there)
    return int(path.read_text())
