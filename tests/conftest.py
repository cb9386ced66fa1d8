"""Fixtures shared by the suite: real data where it is at hand, and a cache that no test leaves behind."""

import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# A job started in the background ignores Ctrl-C and so would its children, whose interruption some tests are about.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

os.environ.setdefault("CLASS_KIT_PROGRESS", "0")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "0")):
    # processes that share the tests share the cores too; more threads than cores wait for each other
    for name in ("OMP_NUM_THREADS", "LOKY_MAX_CPU_COUNT"):
        os.environ.setdefault(name, str(max(1, (os.cpu_count() or 1) // workers)))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What reads the short run or starts the browser comes first: one process does it all, and none waits for another.

    Of two processes, the second begins in the middle of the list.
    """
    items.sort(key=lambda item: not {"short_run", "browser"} & set(getattr(item, "fixturenames", ())))


# Waiting for the disk guards against a loss of power, which no test brings about.
os.fsync = lambda handle: None


@pytest.fixture(autouse=True)
def _backbones_of_the_kit_alone() -> Iterator[None]:
    """What a test registers is gone with the test: others list all the backbones there are."""
    before = own_backbones()
    yield
    for name in own_backbones() - before:
        del sys.modules["class_kit.backbones"]._REGISTERED[name]


def own_backbones() -> set[str]:
    """Names registered in this process by others than the kit, asked without importing torch."""
    backbones = sys.modules.get("class_kit.backbones")
    return set(backbones._REGISTERED) - set(backbones._MODULES) if backbones else set()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the test's own, in which it works."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the test's own; its folder is not there yet."""
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def kit(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command line as a user types it: what it printed, and where it refuses one line of the reason first."""
    from class_kit.cli import main

    def run(*words: object, code: int = 0) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == code
        shown = capsys.readouterr()
        assert code != 2 or shown.err.count("\n") == 1
        return shown.err + shown.out

    return run


@pytest.fixture(scope="session")
def task() -> Any:
    """Two noisy views of hidden points, 80 of them for training."""
    from tests.test_study import small_task

    return small_task()


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data, laid out as the README's section on real data says."""
    folder = os.environ.get("CLASS_KIT_DATA")
    if not folder:
        pytest.skip("CLASS_KIT_DATA is not set: tests on real data need a folder with chebi20/, mol2vec/, scibert/")
    path = Path(folder)
    if not path.is_dir():
        pytest.skip(f"CLASS_KIT_DATA={folder} is not a folder")
    return path


@pytest.fixture(scope="session")
def real_file(data_dir: Path) -> Callable[[str], Path]:
    """Finds a file of real data; a test whose file is not there is skipped."""

    def find(name: str) -> Path:
        if not (data_dir / name).is_file():
            pytest.skip(f"CLASS_KIT_DATA has no {name} ({data_dir})")
        return data_dir / name

    return find


@pytest.fixture(scope="session")
def chebi20_dir(real_file: Callable[[str], Path]) -> Path:
    """The folder with the published ChEBI-20 files."""
    return real_file("chebi20/validation.txt").parent


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium for the whole session: its driver cannot be started a second time while it runs."""
    from tests.browser_tools import find_chromium, launch

    executable = find_chromium()
    if executable is None:
        pytest.skip("no chromium: the browser tests need Debian's package (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need: pip install playwright")
    with playwright.sync_playwright() as driver:
        found = launch(driver, executable)
        yield found
        found.close()


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that the first process to need it makes; all those that share the tests share it."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    with open(folder / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not (folder / ".made").exists():
            make(folder)
            (folder / ".made").touch()
    return folder


@pytest.fixture(scope="session", autouse=True)
def _vectors_of_the_session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A text is embedded once in a session, and nothing is left in the user's own cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLASS_KIT_CACHE", str(made_once(tmp_path_factory, "cache", lambda folder: None)))
        yield


@pytest.fixture(scope="session")
def small_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished small study of the paper."""
    from tests.small_paper import study_paper

    def make(folder: Path) -> None:
        assert study_paper(folder) == 0

    return made_once(tmp_path_factory, "small_study", make) / "paper"


@pytest.fixture(scope="session")
def small_results(small_study: Path) -> dict[str, Any]:
    """What the small study found."""
    from class_kit.study.paper_tables import read_results

    return read_results(small_study / "paper.json")


@pytest.fixture(scope="session")
def short_run(tmp_path_factory: pytest.TempPathFactory, small_study: Path) -> Path:
    """The folder of a finished short run of all notebooks."""
    from class_kit.cli import main
    from tests.short_run import all_notebooks, write_part

    def make(folder: Path) -> None:
        write_part(folder)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("PYTHONWARNINGS", "error::DeprecationWarning:class_kit")
            # trainings this small are done before a second process has started
            patch.setenv("LOKY_MAX_CPU_COUNT", "1")
            assert main([*all_notebooks(small_study / "paper.json"), "--out", "short"]) == 0

    return made_once(tmp_path_factory, "short_run", make) / "short"
