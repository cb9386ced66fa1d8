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

# Group by group, the noun phrase for a molecule whose class is decided by that group; the first one present counts.
PHOSPHORUS = {
    "dithiophosphate": "phosphorodithioate derivative",
    "thiophosphate": "phosphorothioate derivative",
    "phosphate": "phosphate derivative",
    "phosphonate": "phosphonic acid derivative",
    "phosphonium": "phosphonium ion",
    "phosphine": "phosphine",
}
SULFUR = {
    "sulfonium": "sulfonium ion",
    "sulfonic": "sulfonic acid",
    "sulfonate": "sulfonic acid",
    "sulfonamide": "sulfonamide",
    "sulfonyl_chloride": "sulfonyl chloride",
    "sulfonate_ester": "sulfonic ester",
    "sulfone": "sulfone",
    "sulfoxide": "sulfoxide",
    "disulfide": "disulfide",
    "aryl_thiol": "aromatic thiol",
    "thiol": "thiol",
    "sulfide": "thioether",
    "thiocarbonyl": "thiocarbonyl compound",
    "isothiocyanate": "isothiocyanate",
}
CATIONS = {
    "quaternary": "quaternary ammonium ion",
    "ammonium": "protonated amine",
    "azinium": "quaternised nitrogen heterocycle",
}
AMINES = {
    "amine_1": "primary amine",
    "aryl_amine_1": "primary aromatic amine",
    "amine_2": "secondary amine",
    "amine_3": "tertiary amine",
}
NITROGEN = {
    "aryl_nitro": "nitroarene",
    "nitro": "nitro compound",
    "nitrate": "nitrate ester",
    "carbon_nitrile": "nitrile",
    "isocyanate": "isocyanate",
    "azo": "azo compound",
    "oxime": "oxime",
}
# A narrower key tells the same group as the wider one.
WIDER = {"aryl_thiol": "thiol", "aryl_nitro": "nitro", "carbon_nitrile": "nitrile"}


class Kind(NamedTuple):
    """A class for plots, the noun phrase of the kind, and what the phrase has already told."""

    label: str
    phrase: str
    told: frozenset[str]


def _kind(label: str, phrase: str, *told: str) -> Kind:
    return Kind(label, phrase.strip(), frozenset(told))


def _by_group(facts: Facts, label: str, phrases: dict[str, str]) -> Kind | None:
    """The kind of the first group present; it is told in full only where it occurs once."""
    for key, phrase in phrases.items():
        if facts.groups[key]:
            group = WIDER.get(key, key)
            return _kind(label, phrase, *([group] if facts.groups[group] == 1 else []))
    return None


def with_article(phrase: str) -> str:
    vowel = phrase.startswith(("a", "e", "i", "o", "u", "N-", "N,", "N="))
    return ("an " if vowel and not phrase.startswith(("urea", "urethane")) else "a ") + phrase


def acid_phrase(facts: Facts, prefix: str) -> str:
    """The kind of the one acid behind a carboxy, ester or amide group, seen from its acyl carbon."""
    if facts.groups[f"{prefix}_aromatic"]:
        return "aromatic carboxylic acid"
    if facts.groups[f"{prefix}_unsaturated"]:
        return "alpha,beta-unsaturated carboxylic acid"
    return "carboxylic acid" if facts.aromatic_atoms else "aliphatic carboxylic acid"


def short_acyl(facts: Facts, prefix: str, acetic: str, formic: str) -> str | None:
    """The word for the two smallest acids, which are told apart from the rest."""
    if facts.groups[f"{prefix}_acetic"]:
        return acetic
    return formic if facts.groups[f"{prefix}_formic"] else None


def _carboxylic_acid(facts: Facts) -> Kind:
    g, label, told = facts.groups, "carboxylic acid", ("carboxy", "carboxylate")
    n = g["carboxy"] + g["carboxylate"]
    if n == 1 and facts.alpha_amino_acid:
        return _kind(label, "alpha-amino acid", *told)
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
    g, label, n = facts.groups, "ester", facts.groups["ester"]
    if not n:
        return _kind(label, "lactone", *(["lactone"] if g["lactone"] == 1 else []))
    alkyls = {k.removeprefix("ester_alkyl_"): m for k, m in g.items() if k.startswith("ester_alkyl_")}
    if n > 4:
        return _kind(label, "polyester")
    if n > 1:
        same = next((f" with {name} ester groups only" for name, m in alkyls.items() if m == n), "")
        return _kind(label, f"{MULTIPLES[n]}ester{same}", "ester")
    short = short_acyl(facts, "ester", "acetate", "formate")
    acid = with_article(acid_phrase(facts, "ester"))
    if alkyls and not short:
        return _kind(label, f"{next(iter(alkyls))} ester of {acid}", "ester")
    source = f"{short} ester of" if short else f"ester of {acid} with"
    for origin in ("primary alcohol", "secondary alcohol", "tertiary alcohol", "phenol"):
        if g[f"ester_of_{origin.split()[0]}"]:
            return _kind(label, f"{source} a {origin}", "ester")
    return _kind(label, f"{short} ester" if short else f"ester of {acid}", "ester")


def _amide(facts: Facts) -> Kind | None:
    g, label, told = facts.groups, "amide", ("amide_1", "amide_2", "amide_3")
    n = sum(g[key] for key in told)
    if n > 1:
        return _kind(label, "polyamide" if n > 4 else f"{MULTIPLES[n]}amide")
    if not n:
        simple = {"imide": "imide", "urea": "urea derivative", "carbamate": "carbamate ester", "lactam": "lactam"}
        return _by_group(facts, label, simple)
    acid = with_article(acid_phrase(facts, "amide"))
    if g["amide_1"]:
        return _kind(label, f"primary amide of {acid}", *told)
    amine = "a secondary amine" if g["amide_3"] else "an aromatic amine" if g["amide_of_aryl"] else "a primary amine"
    short = short_acyl(facts, "amide", "acetyl", "formyl")
    if short:
        return _kind(label, f"N-{short} derivative of {amine}", *told)
    return _kind(label, f"{'tertiary' if g['amide_3'] else 'secondary'} amide of {acid} with {amine}", *told)


def _phosphorus(facts: Facts) -> Kind:
    label = "phosphorus compound"
    return _by_group(facts, label, PHOSPHORUS) or _kind(label, "phosphorus compound")


def _sulfur(facts: Facts) -> Kind | None:
    kind = _by_group(facts, "sulfur compound", SULFUR)
    if kind or not facts.elements["S"] or facts.groups["ring_sulfur"]:
        return kind
    return _kind("sulfur compound", "organosulfur compound" if facts.groups["bonded_sulfur"] else "sulfur compound")


def _carbonyl(facts: Facts) -> Kind | None:
    g, label, n = facts.groups, "carbonyl compound", facts.groups["ketone"]
    if g["aldehyde"]:
        phrase = "aromatic aldehyde" if g["aryl_aldehyde"] else "aldehyde"
        return _kind(label, phrase, *(["aldehyde"] if g["aldehyde"] == 1 else []))
    if n > 1:
        cyclic = "cyclic " if g["ring_ketone"] == n else ""
        return _kind(label, f"{cyclic}{MULTIPLES.get(n, 'poly')}ketone", *(["ketone"] if n in MULTIPLES else []))
    adjective = "cyclic " if g["ring_ketone"] else "aryl " if g["aryl_ketone"] else ""
    return _kind(label, f"{adjective}ketone", "ketone") if n else None


def _alcohol(facts: Facts) -> Kind | None:
    g, label = facts.groups, "alcohol or phenol"
    alcohols = {"alcohol_1": "primary", "alcohol_2": "secondary", "alcohol_3": "tertiary"}
    present = [key for key in alcohols if g[key]]
    n, phenols = sum(g[key] for key in present), g["phenol"] + g["phenolate"]
    if phenols and not n:
        degree = {1: "", 2: "dihydric ", 3: "trihydric "}.get(phenols, "polyhydric ")
        return _kind(label, f"{degree}phenol", "phenol", "phenolate")
    if n == 1:
        return _kind(label, f"{alcohols[present[0]]} alcohol", *present)
    if n > 1 and n == g["hydroxy"]:
        return _kind(label, {2: "diol", 3: "triol", 4: "tetrol"}.get(n, "polyol"))
    return _kind(label, "polyhydroxy compound") if n > 1 else None


def _amine(facts: Facts) -> Kind | None:
    cation = _by_group(facts, "amine", CATIONS)
    if cation:
        return cation
    present = [key for key in AMINES if facts.groups[key]]
    n = sum(facts.groups[key] for key in present)
    if n > 1:
        return _kind("amine", {2: "diamine", 3: "triamine"}.get(n, "polyamine"))
    return _kind("amine", AMINES[present[0]], present[0]) if present else None


def _other_nitrogen(facts: Facts) -> Kind | None:
    g, label = facts.groups, "other nitrogen compound"
    kind = _by_group(facts, label, NITROGEN)
    if kind or not facts.elements["N"]:
        return kind
    named = sorted(r.name for r in facts.rings if r.name and "N" in r.hetero)
    if named:
        return _kind(label, f"member of the {named[0]}s", named[0])
    if g["ring_nitrogen"]:
        return _kind(label, "nitrogen heterocycle")
    return _kind(label, "organonitrogen compound" if g["bonded_nitrogen"] else "nitrogen compound")


def _oxygen(facts: Facts) -> Kind | None:
    g = facts.groups
    for key, phrase in (("acyl_chloride", "acyl chloride"), ("anhydride", "carboxylic anhydride")):
        if g[key]:
            return _kind("carbonyl compound", phrase, *([key] if g[key] == 1 else []))
    if g["ether"]:
        phrase = "aromatic ether" if g["aryl_ether"] else "ether" if facts.aromatic_atoms else "aliphatic ether"
        return _kind("ether", phrase, *(["ether"] if g["ether"] == 1 else []))
    return _kind("ether", "oxygen heterocycle") if g["ring_ether"] else None


def _halogen(facts: Facts) -> Kind | None:
    g, label = facts.groups, "organohalogen"
    present = [key for key in HALOGENS if g[key]]
    if len(present) != 1:
        return _kind(label, "organohalogen compound") if present else None
    aromatic = g["aryl_halogen"] == g[present[0]]
    where = "aromatic " if aromatic else "" if facts.aromatic_atoms else "aliphatic "
    return _kind(label, f"{where}organo{HALOGENS[present[0]]} compound")


def _hydrocarbon(facts: Facts) -> Kind | None:
    g, label = facts.groups, "hydrocarbon"
    if set(facts.elements) - {"H"} != {"C"} or facts.charge:
        return None
    if facts.aromatic_atoms:
        return _kind(label, "aromatic hydrocarbon")
    if g["alkyne"]:
        return _kind(label, "alkyne", *(["alkyne"] if g["alkyne"] == 1 else []))
    unsaturated = {0: "alkane", 1: "alkene", 2: "diene", 3: "triene"}.get(g["alkene"], "polyene")
    told = ["alkene"] if g["alkene"] < 4 else []
    return _kind(label, f"{'cyclic' if facts.rings else 'acyclic'} {unsaturated}", *told)


def kind_of(facts: Facts) -> Kind | None:
    """The kind of the organic part: the first class, in order of precedence, that it belongs to."""
    g = facts.groups
    element = next((e for e in ORGANOELEMENTS if facts.elements[e]), None)
    if element:
        told = (element,) if facts.elements[element] == 1 else ()
        return _kind("organoelement", f"{ORGANOELEMENTS[element]} compound", *told) if g[f"organo_{element}"] else None
    if facts.elements["P"]:
        return _phosphorus(facts)
    if facts.steroid:
        return _kind("steroid", "steroid")
    if g["carboxy"] or g["carboxylate"]:
        return _carboxylic_acid(facts)
    if g["ester"] or g["lactone"]:
        return _ester(facts)
    rules = (_amide, _sulfur, _carbonyl, _alcohol, _amine, _other_nitrogen, _oxygen, _halogen, _hydrocarbon)
    return next((kind for rule in rules if (kind := rule(facts))), None)
