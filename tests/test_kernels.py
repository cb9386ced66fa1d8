"""Real kernels: what they get, how they fail, that none survives its run, and that a reader can stop a cell."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat
import numpy as np
import psutil
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager, KernelManager

from class_kit import runs
from class_kit.cli import main
from class_kit.runs import kernels
from tests.faulty_places import is_gone, wait_until
from tests.notebook_tools import entry_of, quiet, write_notebook

NASTY = 'it\'s "quoted" """and\nmore\\ {out} \u2028 {{x}} %s $(touch pwned) `id`\x1b[2J'
# Says which process it is, and sleeps where the file `again` does not exist.
LONG = """import os, pathlib, time
pathlib.Path(f'pid{number}.part').write_text(str(os.getpid()))
os.replace(f'pid{number}.part', f'pid{number}')
time.sleep(0 if pathlib.Path('again').exists() else 120)"""
RECORD = "from class_kit.runs import record\n_ = record(out, '01_long', {'number': number})"


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
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(kernels.execute, before, {"out": "new"}, here / "again.ipynb").result() is None
    again = nbformat.read(here / "again.ipynb", as_version=4)
    assert [cell.source for cell in again.cells if cell.id == "injected-parameters"] == ['# Parameters\nout = "new"\n']
    assert [output.text for output in again.cells[-1].outputs] == ["new\n"]


def test_a_kernel_is_woken_while_a_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wake-up is a connection of its own, which disturbs neither the cell nor its outputs."""
    connected: list[Any] = []
    connect = AsyncKernelManager.connect_shell
    monkeypatch.setattr(kernels, "WAKE_S", 0.05)
    monkeypatch.setattr(
        AsyncKernelManager, "connect_shell", lambda self: connected.append(connect(self)) or connected[-1]
    )
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import time; time.sleep(1); print('slept')")])
    assert kernels.execute(book, {}, tmp_path / "executed.ipynb") is None
    (output,) = nbformat.read(tmp_path / "executed.ipynb", as_version=4).cells[0].outputs
    assert output.text == "slept\n"
    assert len(connected) > 5
    assert all(socket.closed for socket in connected)


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
    book = write_notebook(here / "01_long.ipynb", ["number = 0"], LONG, RECORD)
    process = start_run(here, book.name, "--sweep", "number=0,1,2", "--jobs", "2", "--out", "mine")
    found = [wait_for_pid(here / f"pid{number}", process) for number in (0, 1)]
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=120)
    assert process.returncode == 130, output
    assert "the same command continues" in output[0]
    wait_until(lambda: all(map(is_gone, found)))
    assert not (here / "mine" / "done").exists()
    (here / "again").touch()
    assert main(["run", book.name, "--sweep", "number=0,1,2", "--jobs", "2", "--out", "mine"]) == 0
    rows = json.loads(Path("mine/metrics.json").read_text(encoding="utf-8"))["runs"]
    assert [row["metrics"] for row in rows] == [{"01_long": {"number": number}} for number in (0, 1, 2)]


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


# --- a reader stops a long cell: it ends with KeyboardInterrupt, its workers end, and the kernel goes on


ROOT = Path(__file__).parents[1]
SETUP = """
import numpy as np
from pathlib import Path
from class_kit import study
from class_kit.pairs import load_pairs
from class_kit.study.records import Arm
from class_kit.task import Task
from class_kit.training import TrainingConfig

lines = [f"{at},{'C' * (at + 1)}O,text {at},{'train' if at < 8 else 'test'}" for at in range(12)]
Path("pairs.csv").write_text("\\n".join(["id,smiles,text,split", *lines]))
pairs, rng = load_pairs("pairs.csv"), np.random.default_rng(0)
t, m = (rng.normal(size=(12, 8)).astype("f4") for _ in range(2))
task = Task(pairs, t, m, pairs, m, {"text": "minilm", "molecules": "mol2vec", "vectors": "corpus"})
arms = [Arm("all", order="standard")]
"""
CONFIG = "TrainingConfig(epochs={epochs}, batch_size=2)"
ALL = f"print('begun', flush=True)\nlen(study.run_arms(task, arms, {CONFIG}, [0, 1], jobs={{jobs}}))"

# Says when PyTorch is in the middle of reading itself, and gives the interrupt time to come.
SLOW_IMPORT = """
import sys, time

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "torch._dynamo.symbolic_convert":
            print("reading", flush=True)
            time.sleep(3)

assert "torch._dynamo" not in sys.modules
sys.meta_path.insert(0, Slow())
"""


class Kernel:
    """A kernel of this interpreter in a folder of its own, and a client that talks to it."""

    def __init__(self, folder: Path) -> None:
        self.manager = KernelManager()
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        self.manager._kernel_spec = KernelSpec(argv=argv, display_name="test", language="python")
        known = os.environ.get("PYTHONPATH")
        paths = {"PYTHONPATH": os.pathsep.join([str(ROOT), *([known] if known else [])])}
        own = {"CLASS_KIT_CACHE": str(folder / "cache"), "IPYTHONDIR": str(folder / "ipython")}
        with open(folder / "kernel.log", "wb") as log:
            self.manager.start_kernel(cwd=str(folder), env=os.environ | paths | own, stdout=log, stderr=log)
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def run(self, code: str, interrupt_at: int | None = None) -> tuple[str, str]:
        """Status of a cell and what it gave or raised; interrupted, if wished, when so many workers are up."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            if message["msg_type"] == "stream" and interrupt_at is not None:
                self.wait_for_workers(interrupt_at)
                time.sleep(1)
                self.manager.interrupt_kernel()
            elif message["msg_type"] == "execute_result":
                said.append(message["content"]["data"]["text/plain"])

        answer = self.client.execute_interactive(code, timeout=120, output_hook=hear)["content"]
        return answer["status"], answer.get("ename") or "".join(said)

    def wait_for_workers(self, count: int) -> None:
        """Wait until exactly so many processes train for this kernel."""
        wait_until(lambda: sum(map(_trains, psutil.Process(self.manager.provisioner.pid).children())) == count)

    def end(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _trains(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "popen_loky" in " ".join(process.cmdline())
    return False


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    found = Kernel(tmp_path_factory.mktemp("kernel"))
    assert found.run(SETUP) == ("ok", "")
    yield found
    found.end()


def test_a_first_training_interrupted_while_pytorch_is_read_can_be_begun_again(kernel: Kernel) -> None:
    """PyTorch reads much of itself when the first optimiser is made, and could not do so a second time."""
    assert kernel.run(SLOW_IMPORT) == ("ok", "")
    assert kernel.run(ALL.format(epochs=3, jobs=1).split("\n")[1], interrupt_at=0) == ("error", "KeyboardInterrupt")
    assert kernel.run(ALL.format(epochs=3, jobs=1)) == ("ok", "2")


@pytest.mark.parametrize("jobs", [1, 2])
def test_an_interrupted_training_leaves_the_kernel_usable(kernel: Kernel, jobs: int) -> None:
    workers = jobs if jobs > 1 else 0
    assert kernel.run(ALL.format(epochs=10**6, jobs=jobs), interrupt_at=workers) == ("error", "KeyboardInterrupt")
    kernel.wait_for_workers(0)
    assert kernel.run(ALL.format(epochs=jobs, jobs=jobs)) == ("ok", "2")


def test_a_bar_is_shown_in_a_notebook_s_page(kernel: Kernel) -> None:
    """A kernel has no terminal, and its reader sees what it writes; one that runs for a record is told to be silent."""
    ask = "import os, sys\nfrom class_kit.progress import progress_bar\n{}\n"
    ask += "(sys.stderr.isatty(), progress_bar(range(2), desc='x').disable)"
    assert kernel.run(ask.format("_ = os.environ.pop('CLASS_KIT_PROGRESS', None)")) == ("ok", "(False, False)")
    assert kernel.run(ask.format("os.environ['CLASS_KIT_PROGRESS'] = '0'")) == ("ok", "(False, True)")
