"""What a sweep runs: values as typed, and a checked set of parameters for every combination of them."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from class_kit.errors import InputError
from class_kit.runs.folder import default_name
from class_kit.runs.manifest import digest_json
from class_kit.runs.notebook_files import Notebook, Raw, resolve_parameters
from class_kit.runs.parameters import parse_value

# Each combination leaves executed notebooks and a report; beyond this a range was mistyped rather than meant.
MAX_COMBINATIONS = 1000


@dataclass(frozen=True)
class Combination:
    """One set of values of a sweep.

    Attributes
    ----------
    name : str
        The name of its folder, made from the values.
    swept : dict
        The swept parameters with their values.
    given : dict
        All given parameters, swept and fixed, as they were given.
    overrides : dict of str to dict
        Per notebook, the given parameters it declares, as plain data of the declared types.
    """

    name: str
    swept: dict[str, Any]
    given: dict[str, Any]
    overrides: dict[str, dict[str, Any]]

    @property
    def parameters(self) -> dict[str, Any]:
        """All given parameters with the values the notebooks get."""
        return {name: value for values in reversed(self.overrides.values()) for name, value in values.items()}


def shown_values(values: Mapping[str, Any]) -> str:
    """Parameters for a line of text: `growth = 0.02, start = 0.4`."""
    return ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items())


def read_sweeps(texts: Iterable[str]) -> dict[str, list[Raw]]:
    """The sweeps of a command line, `NAME=V1,V2` each.

    Commas inside brackets, braces and quotes belong to a value, so that `seeds=[0],[1,2]` has the two values `[0]`
    and `[1,2]`, and `word="a,b",c` the two texts `a,b` and `c`. Spaces round a value are dropped.

    Raises
    ------
    InputError
        For a text without `=`, a parameter named twice, an empty value, and a bracket or quote that stays open.
    """
    sweeps: dict[str, list[Raw]] = {}
    for text in texts:
        name, sign, values = text.partition("=")
        name = name.strip()
        if not sign or not name:
            raise InputError(f"--sweep {text!r}: expected NAME=V1,V2")
        if name in sweeps:
            raise InputError(f"--sweep {name} is given twice; list all its values in one: {name}=V1,V2")
        sweeps[name] = [Raw(value) for value in split_values(values, name)]
    return sweeps


def split_values(text: str, name: str) -> list[str]:
    """`V1,V2` at the commas that are in no bracket, brace or quote (see `read_sweeps`)."""
    pieces, piece, depth, quote, before = [], "", 0, "", ","
    letters = iter(text)
    for letter in letters:
        if letter == "," and not depth and not quote:
            pieces.append(piece)
            piece, before = "", ","
            continue
        piece += letter
        if quote:
            if letter == "\\" and quote == '"':
                piece += next(letters, "")
            quote = "" if letter == quote else quote
        elif letter in "'\"" and before in ",[{:":
            # as in YAML, a quote inside a word is a letter like any other
            quote = letter
        elif letter in "[{":
            depth += 1
        elif letter in "]}":
            depth = max(0, depth - 1)
        before = before if letter.isspace() else letter
    if depth or quote:
        raise InputError(f"--sweep {name}: a bracket or quote stays open in {text!r}; put a text with commas in quotes")
    values = [value.strip() for value in [*pieces, piece]]
    if "" in values:
        raise InputError(f'--sweep {name}: an empty value in {text!r}; write "" for the empty text')
    return values


def plan_combinations(
    chosen: Sequence[Notebook],
    sweeps: Mapping[str, Iterable[Any]],
    fixed: Mapping[str, Any],
    common: Mapping[str, Any],
) -> list[Combination]:
    """Every combination of the swept values, checked against the chosen notebooks; the last name varies fastest.

    Parameters
    ----------
    chosen : sequence of Notebook
    sweeps : mapping of str to iterable
        Values of each swept parameter, plain data or `Raw`.
    fixed : mapping
        Parameters with one value for all combinations.
    common : mapping
        `pairs`, `data` and `extra`, None where not given.

    Raises
    ------
    InputError
        For no sweep, a sweep without values, a parameter both swept and fixed, too many combinations, a combination
        given twice, and what `resolve_parameters` refuses, in any combination.
    """
    values = {name: _listed(name, swept) for name, swept in sweeps.items()}
    if not values:
        raise InputError("a sweep needs at least one parameter with values")
    if both := sorted(set(values) & set(fixed)):
        raise InputError(f"parameter {both[0]} is given twice: swept, and with one value")
    if (count := math.prod(map(len, values.values()))) > MAX_COMBINATIONS:
        raise InputError(f"the sweeps make {count} combinations; expected at most {MAX_COMBINATIONS}")
    read = {name: [_unquoted(chosen, name, value) for value in swept] for name, swept in values.items()}
    found: dict[str, Combination] = {}
    for chosen_values in itertools.product(*read.values()):
        combination = _checked(chosen, dict(zip(read, chosen_values, strict=True)), fixed, common)
        other = found.setdefault(combination.name, combination)
        if other is not combination:
            shown, before = shown_values(combination.swept), shown_values(other.swept)
            if shown == before:
                raise InputError(f"the sweep gives {shown} twice; expected values that differ")
            raise InputError(f"the sweep's {shown} would get the folder {other.name!r} of {before}; sweep them apart")
    return list(found.values())


def sweep_name(chosen: Sequence[Notebook], combinations: Sequence[Combination]) -> str:
    """A readable name from the notebook and the swept parameters, and a hash of all that is run."""
    stems, names = [notebook.stem for notebook in chosen], list(combinations[0].swept)
    words = "-".join([*(stems if len(stems) == 1 else []), *names])[:60]
    return f"sweep-{words}-{digest_json([stems, [each.overrides for each in combinations]])[:8]}"


def _listed(name: str, values: Any) -> list[Any]:
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise InputError(f"sweep of {name}: {values!r} is {type(values).__name__}; expected a list of values")
    if not (listed := list(values)):
        raise InputError(f"sweep of {name}: no values; expected at least one")
    return listed


def _checked(
    chosen: Sequence[Notebook], swept: Mapping[str, Any], fixed: Mapping[str, Any], common: Mapping[str, Any]
) -> Combination:
    given = {**fixed, **swept}
    overrides = resolve_parameters(chosen, given, common)
    shown = {name: next(values[name] for values in overrides.values() if name in values) for name in swept}
    return Combination(default_name(shown), shown, given, overrides)


def _unquoted(chosen: Sequence[Notebook], name: str, value: Any) -> Any:
    """A quoted text without its quotes: they only kept its commas together where the parameter is a text."""
    if not isinstance(value, Raw) or value.text[:1] not in {"'", '"'} or value.text[-1:] != value.text[:1]:
        return value
    declared = [notebook.declared[name].default for notebook in chosen if name in notebook.declared]
    if not declared or not all(isinstance(default, str) for default in declared):
        return value
    try:
        # YAML reads what JSON writes, but for letters that JSON writes as two halves
        text = json.loads(value.text, strict=False)
    except ValueError:
        text = parse_value(value.text, None, name)
    return text if isinstance(text, str) else value
