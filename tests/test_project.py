"""The project's own promises: one list of packages in three files, a light import, public names, commands."""

import ast
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import class_kit
from tests.faulty_places import python

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "pytorch-geometric": "torch-geometric"}
LIGHT = ("pairs", "neighbours", "difficulty", "curriculum", "retrieval", "study", "cli")
HEAVY = ["torch", "transformers", "rdkit", "gensim", "matplotlib", "pandas", "sklearn", "scipy", "numba", "seaborn"]
FOR_COMMANDS = ["papermill", "nbformat", "yaml", "numpy"]


def requirements(lines: list[str]) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def locked() -> dict[str, Version]:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").split()
    pairs = [line.split("==") for line in lines]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_environment_file_lists_what_the_project_asks_for() -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    plain = [entry for entry in entries if isinstance(entry, str)]
    (nested,) = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    assert nested[-1] == "--editable ."
    named = requirements([*plain, *nested[:-1]])
    assert str(named.pop("python").specifier) == PROJECT["requires-python"]
    del named["pip"]
    conda = {CONDA_NAMES.get(name, name): str(requirement.specifier) for name, requirement in named.items()}
    project = {name: str(requirement.specifier) for name, requirement in requirements(PROJECT["dependencies"]).items()}
    assert conda == project


def test_lock_satisfies_the_project_and_its_extras() -> None:
    versions = locked()
    groups = PROJECT["optional-dependencies"]
    extras = [line for group in groups.keys() - {"minimol"} for line in groups[group]]
    for name, requirement in requirements([*PROJECT["dependencies"], *extras]).items():
        assert name in versions, f"{name} is not in requirements.lock"
        assert versions[name] in requirement.specifier, f"{name}: {versions[name]} does not satisfy {requirement}"


def test_torch_is_pinned_to_one_version_everywhere() -> None:
    assert str(requirements(PROJECT["dependencies"])["torch"].specifier) == "==2.13.0"
    assert locked()["torch"] == Version("2.13.0")


def test_design_card_packages_are_direct_dependencies() -> None:
    card = "jupyterlab torch transformers rdkit mol2vec matplotlib seaborn ipywidgets papermill"
    assert set(card.split()) <= set(requirements(PROJECT["dependencies"]))


def test_every_import_of_the_package_is_a_declared_dependency() -> None:
    """Nothing works only because another package happens to bring it."""
    modules = {
        "sklearn": "scikit-learn",
        "vl_convert": "vl-convert-python",
        "yaml": "pyyaml",
        "PIL": "pillow",
        "mpl_toolkits": "matplotlib",
        "ot": "pot",
    }
    # Parts of jupyterlab, matplotlib and transformers that are imported by their own names.
    brought = {"nbclient", "ipython", "jupyter-client", "cycler", "traitlets", "ipykernel"}
    groups = ("dask", "trainers", "minimol", "book")
    extras = [line for group in groups for line in PROJECT["optional-dependencies"][group]]
    declared = set(requirements([*PROJECT["dependencies"], *extras])) | brought
    for path in sorted((ROOT / "class_kit").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            for name in names:
                top = name.split(".")[0]
                if top in sys.stdlib_module_names or top == "class_kit":
                    continue
                assert canonicalize_name(modules.get(top, top)) in declared, f"{path.name} imports {name}"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import class_kit, " + ", ".join(f"class_kit.{part}" for part in LIGHT), HEAVY),
        ("import class_kit.widgets", ["torch", "transformers"]),
        ("import class_kit.options", [*HEAVY, "numpy", "yaml"]),
        ("from class_kit.curriculum import controls, feedback, trainers", HEAVY),
        ("import numpy as n, class_kit as ck; ck.retrieval_ranks(n.eye(5), n.eye(5), range(5))", HEAVY),
        ("from class_kit.cli import main; main(['--version']), main(['--help'])", [*HEAVY, *FOR_COMMANDS, "pydantic"]),
        ("from class_kit.cli import main; main(['run', '--help']), main(['train', '--help'])", [*HEAVY, *FOR_COMMANDS]),
    ],
)
def test_nothing_heavy_is_loaded_before_it_is_needed(code: str, heavy: list[str]) -> None:
    code = f"{code}\nimport sys; print(sorted(set(sys.modules) & set({heavy!r})))"
    done = python("-c", code)
    assert done.stdout.splitlines()[-1] == "[]", done.stderr


def test_public_names_exist_and_are_listed_once() -> None:
    assert sorted(class_kit.__all__) == sorted(set(class_kit.__all__))
    for name in class_kit.__all__:
        assert getattr(class_kit, name) is not None
    with pytest.raises(AttributeError, match="attribute nothing"):
        class_kit.nothing  # noqa: B018


def test_version_is_the_projects() -> None:
    assert class_kit.__version__ == PROJECT["version"]


def test_makefile_has_the_promised_targets() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("run", "test", "lab", "bench", "lint"):
        assert re.search(rf"^{target}: ", text, re.MULTILINE), target
