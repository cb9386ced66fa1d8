"""The class column of the corpus, decided by the graph questions of the test and not by the generator's patterns."""

from __future__ import annotations

from collections.abc import Callable

from tests.corpus_groups import COUNTERS
from tests.corpus_kinds import (
    HALOGENS,
    ORGANO,
    alcohols_count,
    amides_count,
    amines_count,
    bonded_to_carbon,
    carboxyls,
    ketones,
    phenols_count,
    steroid,
    symbols,
)
from tests.corpus_molecule import Molecule

SULFUR_GROUPS = (
    "sulfonium centre", "sulfonic acid group", "sulfonate group", "sulfonamide group", "sulfonyl chloride group",
    "sulfonic ester group", "sulfone group", "sulfoxide group", "disulfide linkage", "sulfanyl group",
    "thioether linkage", "thiocarbonyl group", "isothiocyanate group",
)  # fmt: skip


def any_of(m: Molecule, *phrases: str) -> bool:
    return any(COUNTERS[phrase](m) for phrase in phrases)


def outside_rings(m: Molecule, symbol: str) -> bool:
    return symbol in symbols(m) and not any(a.IsInRing() for a in m.of(symbol))


# In order of precedence: the first one that holds is the class.
CLASSES: tuple[tuple[str, Callable[[Molecule], bool]], ...] = (
    ("salt or adduct", lambda m: bool(m.others)),
    ("organoelement", lambda m: any(bonded_to_carbon(m, element) for element in ORGANO.values())),
    ("phosphorus compound", lambda m: "P" in symbols(m)),
    ("steroid", steroid),
    ("carboxylic acid", lambda m: bool(carboxyls(m))),
    ("ester", lambda m: any_of(m, "ester group", "lactone group")),
    (
        "amide",
        lambda m: amides_count(m) > 0 or any_of(m, "imide group", "urea group", "carbamate group", "lactam group"),
    ),
    ("sulfur compound", lambda m: any_of(m, *SULFUR_GROUPS) or outside_rings(m, "S")),
    ("carbonyl compound", lambda m: bool(ketones(m)) or any_of(m, "aldehyde group")),
    ("alcohol or phenol", lambda m: alcohols_count(m) + phenols_count(m) > 0),
    (
        "amine",
        lambda m: (
            amines_count(m) > 0
            or any_of(m, "quaternary ammonium centre", "protonated amino group", "quaternised ring nitrogen atom")
        ),
    ),
    ("other nitrogen compound", lambda m: "N" in symbols(m)),
    ("carbonyl compound", lambda m: any_of(m, "acyl chloride group", "anhydride group")),
    (
        "ether",
        lambda m: (
            any_of(m, "ether linkage outside rings")
            or any(o.IsInRing() and not o.GetIsAromatic() and len(m.near(o, "C")) == 2 for o in m.of("O"))
        ),
    ),
    ("organohalogen", lambda m: any(bonded_to_carbon(m, symbol) for symbol in HALOGENS.values())),
    ("hydrocarbon", lambda m: symbols(m) == {"C"}),
)


def classes_of(smiles: str) -> list[str]:
    """Every plot class that a molecule fits, in order of precedence."""
    m = Molecule(smiles)
    return [label for label, holds in CLASSES if holds(m)]
