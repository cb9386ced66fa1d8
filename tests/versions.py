"""The suite on other package versions than the lock's: the oldest that pyproject.toml allows, the newest there are.

    python -m tests.versions oldest [PYTEST ARGUMENT …]
    python -m tests.versions newest --python python3.13

Each makes an environment of its own under build/versions/, runs the suite in it and prints which versions that was.
Torch keeps its one version. Bounds are read from pyproject.toml, so they cannot drift from what is promised there; a
bound that does not hold shows as a failure here and has to be raised.
"""

import argparse
import json
import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# What reads the source instead of running it says nothing about versions; stubs would even pull in other versions.
NOT_RUN = {"mypy", "ruff", "pandas-stubs", "types-pyyaml", "types-tqdm"}
# The corpus is promised to be written alike by the lock's versions alone.
LOCK_ONLY = "tests/test_corpus.py::test_the_script_writes_the_same_bytes"


def asked(kind: str, requirement: Requirement) -> str:
    """The line for pip: the lower bound, no bound at all, or what the project says."""
    bounds = {part.operator: part.version for part in requirement.specifier}
    if "==" in bounds or ">=" not in bounds:
        return str(requirement)
    return f"{requirement.name}=={bounds['>=']}" if kind == "oldest" else requirement.name


def build(kind: str, interpreter: str, lines: list[str]) -> str:
    """Make the environment, or bring the one that is there up to the lines; return its interpreter."""
    folder = ROOT / "build" / "versions" / f"{kind}-{Path(interpreter).name}"
    python = str(folder / "bin" / "python")
    if not Path(python).is_file():
        subprocess.run([interpreter, "-m", "venv", str(folder)], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    # torch alone and first: a build that is at hand is taken, and nothing later replaces it
    subprocess.run([*install, *(line for line in lines if line.startswith("torch=="))], check=True)
    eager = ["--upgrade", "--upgrade-strategy", "eager"] if kind == "newest" else []
    subprocess.run([*install, *eager, *lines], check=True)
    subprocess.run([*install, "--no-deps", "--editable", str(ROOT)], check=True)
    return python


def table(python: str, requirements: list[Requirement]) -> str:
    """One line a package: what pyproject.toml asks for, the version tried, and whether it is beyond a cap."""
    command = [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"]
    listed = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    tried = {canonicalize_name(entry["name"]): entry["version"] for entry in listed}
    lines = []
    for requirement in requirements:
        version = tried[canonicalize_name(requirement.name)]
        past = "" if version in requirement.specifier else "  (beyond the cap)"
        lines.append(f"{requirement.name:<24} {requirement.specifier!s:<18} {version}{past}")
    return "\n".join(sorted(lines))


def main() -> int:
    """Build, test, print; pytest's exit code."""
    parser = argparse.ArgumentParser(description="Run the suite on other package versions than the lock's.")
    parser.add_argument("kind", choices=("oldest", "newest"))
    parser.add_argument("--python", default=sys.executable, help="interpreter (default: the one that runs this)")
    known, rest = parser.parse_known_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    own = [Requirement(line) for line in project["dependencies"]]
    tools = [Requirement(line) for line in project["optional-dependencies"]["dev"]]
    tools = [tool for tool in tools if tool.name not in NOT_RUN]
    kept = [str(tool) if known.kind == "oldest" else asked("newest", tool) for tool in tools]
    python = build(known.kind, known.python, [*(asked(known.kind, each) for each in own), *kept])
    # A deprecation in another version is worth reading and no failure; in the locked versions it is one.
    command = [python, "-m", "pytest", "-n", "2", "--dist", "worksteal", "-o", "filterwarnings=default"]
    command += ["-p", "no:cacheprovider", "-q", *rest, f"--deselect={LOCK_ONLY}"]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"\nexit code {code}\n{table(python, [*own, *tools])}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
