"""A reader stops a long cell: the cell ends with KeyboardInterrupt, its workers end, and the kernel goes on."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

from class_kit.terminal import import_whole, interrupts_held
from tests.faulty_places import wait_until

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


def test_an_interrupt_waits_for_the_end_of_a_block_and_of_an_import(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = []

    def interrupted_block() -> None:
        with interrupts_held():
            signal.raise_signal(signal.SIGINT)
            reached.append("the end")

    with pytest.raises(KeyboardInterrupt):
        interrupted_block()
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    (tmp_path / "interrupted_module.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\nwhole = True\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        import_whole("interrupted_module")
    assert sys.modules.pop("interrupted_module").whole
    with pytest.raises(ModuleNotFoundError), interrupts_held():
        import_whole("no_module_of_this_name")
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
