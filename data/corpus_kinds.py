"""Which compound class a molecule belongs to, and the noun phrase that names its kind.

The class colours plots; the kind opens the description. A parent compound is only ever described by its own kind
("an aromatic carboxylic acid"), so no description gives a molecule's name away.
"""

from __future__ import annotations

from typing import NamedTuple

from corpus_chemistry import Facts

MULTIPLES = {1: "", 2: "di", 3: "tri", 4: "tetra", 5: "penta", 6: "hexa"}
ORGANOELEMENTS = {
    "Si": "organosilicon",
    "B": "organoboron",
    "Sn": "organotin",
    "Se": "organoselenium",
    "Ge": "organogermanium",
    "As": "organoarsenic",
    "Hg": "organomercury",
    "Pb": "organolead",
    "Te": "organotellurium",
    "Sb": "organoantimony",
    "Bi": "organobismuth",
}
HALOGENS = {"fluoro": "fluorine", "chloro": "chlorine", "bromo": "bromine", "iodo": "iodine"}


class Kind(NamedTuple):
    """A class for plots, the noun phrase of the kind, and the groups that the phrase has already told."""

    label: str
    phrase: str
    told: frozenset[str]


def _kind(label: str, phrase: str, *told: str) -> Kind:
    return Kind(label, " ".join(phrase.split()), frozenset(told))


def acid_phrase(facts: Facts, prefix: str) -> str:
    """The kind of the one acid behind a carboxy, ester or amide group, seen from its acyl carbon."""
    for surrounding, phrase in (
        ("aromatic", "aromatic carboxylic acid"),
        ("unsaturated", "alpha,beta-unsaturated carboxylic acid"),
        ("acetic", "acetic acid"),
        ("formic", "formic acid"),
    ):
        if facts.groups[f"{prefix}_{surrounding}"]:
            return phrase
    return "carboxylic acid" if facts.aromatic_atoms else "aliphatic carboxylic acid"


def _carboxylic_acid(facts: Facts) -> Kind:
    g, label = facts.groups, "carboxylic acid"
    told = ("carboxy", "carboxylate")
    n = g["carboxy"] + g["carboxylate"]
    if n == 1 and facts.alpha_amino_acid:
        return _kind(label, "alpha-amino acid", *told, "amine_1", "ammonium")
    chain = facts.longest_chain
    if n == 1 and chain >= 8 and facts.elements["C"] == chain and facts.elements["O"] == 2 and len(facts.elements) == 2:
        degree = "unsaturated" if g["alkene"] or g["alkyne"] else "saturated"
        return _kind(label, f"{degree} straight-chain fatty acid", *told)
    if n == 1:
        return _kind(label, acid_phrase(facts, "acid"), *told)
    if n > 4:
        return _kind(label, "polycarboxylic acid", *told)
    adjective = "aromatic" if g["acid_aromatic"] == n else "" if facts.aromatic_atoms else "aliphatic"
    return _kind(label, f"{adjective} {MULTIPLES[n]}carboxylic acid", *told)


def _ester(facts: Facts) -> Kind:
    g, label = facts.groups, "ester"
    if not g["ester"]:
        return _kind(label, "lactone", "lactone")
    alkyls = {k.removeprefix("ester_alkyl_"): n for k, n in g.items() if k.startswith("ester_alkyl_")}
    if g["ester"] > 1:
        multiple = MULTIPLES.get(g["ester"], "poly")
        same = next((name for name, n in alkyls.items() if n == g["ester"]), None)
        if same and multiple != "poly":
            return _kind(label, f"{multiple}ester that holds only {same} ester groups", "ester", f"{same}_ester")
        return _kind(label, f"{multiple}ester", "ester")
    acid = acid_phrase(facts, "ester")
    if alkyls:
        return _kind(label, f"{next(iter(alkyls))} ester of {with_article(acid)}", "ester")
    for origin in ("primary", "secondary", "tertiary"):
        if g[f"ester_of_{origin}"]:
            return _kind(label, f"ester of {with_article(acid)} with a {origin} alcohol", "ester")
    if g["ester_of_phenol"]:
        return _kind(label, f"ester of {with_article(acid)} with a phenol", "ester")
    return _kind(label, f"ester of {with_article(acid)}", "ester")


def _amide(facts: Facts) -> Kind | None:
    g, label = facts.groups, "amide"
    n = g["amide_1"] + g["amide_2"] + g["amide_3"]
    if n == 1:
        acid = with_article(acid_phrase(facts, "amide"))
        told = ("amide_1", "amide_2", "amide_3")
        if g["amide_1"]:
            return _kind(label, f"primary amide of {acid}", *told)
        if g["amide_3"]:
            return _kind(label, f"tertiary amide of {acid}", *told)
        amine = "an aromatic amine" if g["amide_of_aryl"] else "a primary amine"
        return _kind(label, f"secondary amide of {acid} with {amine}", *told)
    if n > 1:
        return _kind(label, f"{MULTIPLES.get(n, 'poly')}amide")
    for key, phrase in (("imide", "imide"), ("urea", "urea derivative"), ("carbamate", "carbamate ester")):
        if g[key]:
            return _kind(label, phrase, key)
    return _kind(label, "lactam", "lactam") if g["lactam"] else None


def _phosphorus(facts: Facts) -> Kind:
    for key, phrase in (
        ("dithiophosphate", "phosphorodithioate ester"),
        ("thiophosphate", "phosphorothioate ester"),
        ("phosphate", "phosphate derivative"),
        ("phosphonate", "phosphonic acid derivative"),
        ("phosphine", "phosphine"),
    ):
        if facts.groups[key]:
            return _kind("organophosphorus", phrase, *([key] if facts.groups[key] == 1 else []))
    return _kind("organophosphorus", "organophosphorus compound")


def _sulfur(facts: Facts) -> Kind | None:
    g, label = facts.groups, "organosulfur"
    for key, phrase in (
        ("sulfonic", "sulfonic acid"),
        ("sulfonate", "sulfonic acid"),
        ("sulfonamide", "sulfonamide"),
        ("sulfonyl_chloride", "sulfonyl chloride"),
        ("sulfonate_ester", "sulfonic ester"),
        ("sulfone", "sulfone"),
        ("sulfoxide", "sulfoxide"),
        ("disulfide", "disulfide"),
        ("thiol", "aromatic thiol" if g["aryl_thiol"] else "thiol"),
        ("sulfide", "thioether"),
        ("thiocarbonyl", "thiocarbonyl compound"),
        ("isothiocyanate", "isothiocyanate"),
    ):
        if g[key]:
            return _kind(label, phrase, *([key] if g[key] == 1 else []))
    if facts.elements["S"] and not g["ring_sulfur"]:
        return _kind(label, "organosulfur compound")
    return None


def _carbonyl(facts: Facts) -> Kind | None:
    g, label = facts.groups, "aldehyde or ketone"
    if g["acyl_chloride"]:
        return _kind(label, "acyl chloride", *(["acyl_chloride"] if g["acyl_chloride"] == 1 else []))
    if g["anhydride"]:
        return _kind(label, "carboxylic anhydride", "anhydride")
    if g["aldehyde"]:
        return _kind(label, "aromatic aldehyde" if g["aryl_aldehyde"] else "aldehyde", "aldehyde")
    n = g["ketone"]
    if not n:
        return None
    if n > 1:
        return _kind(label, f"{'cyclic ' if g['ring_ketone'] == n else ''}{MULTIPLES.get(n, 'poly')}ketone", "ketone")
    return _kind(
        label, "cyclic ketone" if g["ring_ketone"] else "aryl ketone" if g["aryl_ketone"] else "ketone", "ketone"
    )


def _alcohol(facts: Facts) -> Kind | None:
    g, label = facts.groups, "alcohol or phenol"
    alcohols = [k for k in ("alcohol_1", "alcohol_2", "alcohol_3") if g[k]]
    n = sum(g[k] for k in alcohols)
    phenols = g["phenol"] + g["phenolate"]
    if phenols and not n:
        return _kind(
            label, "phenol" if phenols == 1 else f"phenol with {phenols} hydroxy groups", "phenol", "phenolate"
        )
    if n == 1:
        return _kind(
            label, {"1": "primary", "2": "secondary", "3": "tertiary"}[alcohols[0][-1]] + " alcohol", *alcohols
        )
    if n > 1:
        return _kind(label, {2: "diol", 3: "triol", 4: "tetrol"}.get(n, "polyol"))
    return None


def _amine(facts: Facts) -> Kind | None:
    g, label = facts.groups, "amine"
    for key, phrase in (
        ("quaternary", "quaternary ammonium ion"),
        ("ammonium", "protonated amine"),
        ("azinium", "quaternised nitrogen heterocycle"),
    ):
        if g[key]:
            return _kind(label, phrase, *([key] if g[key] == 1 else []))
    keys = [k for k in ("amine_1", "aryl_amine_1", "amine_2", "amine_3") if g[k]]
    n = sum(g[k] for k in keys)
    if n > 1:
        return _kind(label, {2: "diamine", 3: "triamine"}.get(n, "polyamine"))
    names = {
        "amine_1": "primary amine",
        "aryl_amine_1": "primary aromatic amine",
        "amine_2": "secondary amine",
        "amine_3": "tertiary amine",
    }
    return _kind(label, names[keys[0]], keys[0]) if keys else None


def _other_nitrogen(facts: Facts) -> Kind | None:
    g, label = facts.groups, "other nitrogen compound"
    for key, phrase in (
        ("nitro", "nitroarene" if g["aryl_nitro"] else "nitro compound"),
        ("nitrate", "nitrate ester"),
        ("nitrile", "nitrile"),
        ("isocyanate", "isocyanate"),
        ("azo", "azo compound"),
        ("oxime", "oxime"),
    ):
        if g[key]:
            return _kind(label, phrase, *([key] if g[key] == 1 else []))
    if g["ring_nitrogen"]:
        return _kind(label, "nitrogen heterocycle")
    return _kind(label, "organonitrogen compound") if facts.elements["N"] else None


def _ether(facts: Facts) -> Kind | None:
    g = facts.groups
    if g["ether"]:
        phrase = "aromatic ether" if g["aryl_ether"] else "aliphatic ether" if not facts.aromatic_atoms else "ether"
        return _kind("ether", phrase, *(["ether"] if g["ether"] == 1 else []))
    return _kind("ether", "oxygen heterocycle") if g["ring_ether"] else None


def _halogen(facts: Facts) -> Kind | None:
    g = facts.groups
    present = [k for k in HALOGENS if g[k]]
    if not present:
        return None
    if len(present) > 1:
        return _kind("organohalogen", "organohalogen compound")
    n = g[present[0]]
    where = "aromatic " if g["aryl_halogen"] == n else "aliphatic " if not facts.aromatic_atoms else ""
    return _kind("organohalogen", f"{where}organo{HALOGENS[present[0]]} compound")


def _hydrocarbon(facts: Facts) -> Kind | None:
    g = facts.groups
    if set(facts.elements) - {"H"} != {"C"}:
        return _kind("other nitrogen compound", "heterocycle") if g["ring_sulfur"] else None
    if facts.aromatic_atoms:
        return _kind("hydrocarbon", "aromatic hydrocarbon")
    if g["alkyne"]:
        return _kind("hydrocarbon", "alkyne", *(["alkyne"] if g["alkyne"] == 1 else []))
    unsaturated = {0: "alkane", 1: "alkene", 2: "diene", 3: "triene"}.get(g["alkene"], "polyene")
    return _kind("hydrocarbon", f"{'cyclic' if facts.rings else 'acyclic'} {unsaturated}", "alkene")


def kind_of(facts: Facts) -> Kind | None:
    """The kind of the organic part: the first class, in order of precedence, that it belongs to."""
    g = facts.groups
    elements = [e for e in ORGANOELEMENTS if facts.elements[e]]
    if elements:
        return _kind("organoelement", f"{ORGANOELEMENTS[elements[0]]} compound")
    if facts.elements["P"]:
        return _phosphorus(facts)
    if facts.steroid:
        return _kind("steroid", "steroid")
    if g["carboxy"] or g["carboxylate"]:
        return _carboxylic_acid(facts)
    if g["ester"] or g["lactone"]:
        return _ester(facts)
    for rule in (_amide, _sulfur, _carbonyl, _alcohol, _amine, _other_nitrogen, _ether, _halogen, _hydrocarbon):
        kind = rule(facts)
        if kind:
            return kind
    return None


def with_article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" and not phrase.startswith("urea") else "a ") + phrase
