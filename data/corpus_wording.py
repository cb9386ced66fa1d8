"""Facts into sentences: varied wording, the same words for the same molecule every time.

Which claims are made, in what order and in which words is drawn from a hash of the canonical SMILES, so a rebuilt
corpus is the same corpus. A description has room for some claims only, as a real one does.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from corpus_chemistry import Facts, RingSystem
from corpus_kinds import HALOGENS, MULTIPLES, ORGANOELEMENTS, Kind, kind_of, with_article
from corpus_tables import COUNTERPARTS, GROUPS

T = TypeVar("T")

NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
CYCLES = {2: "bicyclic", 3: "tricyclic", 4: "tetracyclic", 5: "pentacyclic", 6: "hexacyclic"}
ELEMENT_NAMES = {"N": "nitrogen", "O": "oxygen", "S": "sulfur", "Si": "silicon", "P": "phosphorus", "B": "boron"}
ELEMENT_NAMES |= {"Se": "selenium", "Sn": "tin", "Ge": "germanium", "As": "arsenic", "Hg": "mercury", "Pb": "lead"}
ELEMENT_NAMES |= {"Te": "tellurium", "Sb": "antimony", "Bi": "bismuth"}
ISOTOPES = {"H2": "deuterium", "H3": "tritium", "C13": "carbon-13", "C14": "carbon-14", "N15": "nitrogen-15"}
ISOTOPES |= {"O18": "oxygen-18", "S35": "sulfur-35", "I131": "iodine-131", "I125": "iodine-125", "C11": "carbon-11"}
# Room for the optional sentences, in characters: the budget of 45 wordpieces a description on average.
ROOM = (110, 135, 160, 185)


class Item(NamedTuple):
    """One countable thing of a list: its words and how much it tells (rare things first)."""

    text: str
    weight: int


def stable_number(*parts: str) -> int:
    """The same integer on every machine; Python's own hash() differs from run to run."""
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:8], "big")


class Choice:
    """Draws from a molecule's own stream: each question (`topic`) has one fixed answer per molecule."""

    def __init__(self, smiles: str) -> None:
        self.smiles = smiles

    def one(self, topic: str, options: Sequence[T]) -> T:
        return options[stable_number(self.smiles, topic) % len(options)]

    def shuffled(self, topic: str, options: Sequence[T]) -> list[T]:
        keyed = [(stable_number(self.smiles, topic, str(k)), option) for k, option in enumerate(options)]
        return [option for _, option in sorted(keyed, key=lambda pair: pair[0])]


def number(n: int) -> str:
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def counted(n: int, singular: str, plural: str) -> str:
    return with_article(singular) if n == 1 else f"{number(n)} {plural}"


def listing(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def ring_words(ring: RingSystem) -> tuple[str, str]:
    """Singular and plural of a ring system: its common name, or size, saturation and hetero atoms."""
    if ring.name:
        oxo = "oxo-substituted " if ring.oxo else ""
        return f"{oxo}{ring.name} ring", f"{oxo}{ring.name} rings"
    atoms = Counter(ring.hetero.split())
    holding = ""
    if all(e in ELEMENT_NAMES for e in atoms):
        held = [f"{number(n)} {ELEMENT_NAMES[e]}" for e, n in sorted(atoms.items())]
        holding = f" with {listing(held)} atom{'s' if sum(atoms.values()) > 1 else ''}" if held else ""
    if not atoms:
        holding = " of carbon"
    if ring.n_rings == 1:
        degree = "aromatic" if ring.aromatic else "saturated" if ring.saturated else "partly unsaturated"
        noun = f"{degree} {ring.size}-membered ring"
    else:
        noun = f"{CYCLES.get(ring.n_rings, 'polycyclic')} ring system"
    return noun + holding, noun.replace("ring system", "ring_systems").replace("ring", "rings", 1).replace(
        "rings_systems", "ring systems"
    ) + (f" each{holding}" if holding else "")


def ring_items(facts: Facts) -> list[Item]:
    if facts.steroid:
        return []
    words = Counter(ring_words(r) for r in facts.rings)
    common = {"benzene ring"}
    return [Item(counted(n, *w), 1 if w[0] in common else 3) for w, n in words.items()]


def group_items(facts: Facts, told: frozenset[str]) -> list[Item]:
    """Groups with their counts, less those that the kind has told or that another group implies."""
    g = facts.groups
    hidden = set(told)
    if g["trifluoromethyl"] * 3 == g["fluoro"]:
        hidden.add("fluoro")
    if g["methoxy"] and g["ether"] == g["methoxy"]:
        hidden.add("ether")
    plain = {"phenyl", "alkene", "aryl_methyl", "ring_methyl", "n_methyl"}
    return [
        Item(counted(g[k], group.singular, group.plural), 1 if k in plain else 2)
        for k, group in GROUPS.items()
        if g[k] and k not in hidden
    ]


def element_items(facts: Facts) -> list[Item]:
    named = [e for e in (*ORGANOELEMENTS, "P") if facts.elements[e]]
    return [Item(counted(facts.elements[e], f"{ELEMENT_NAMES[e]} atom", f"{ELEMENT_NAMES[e]} atoms"), 1) for e in named]


def composition(facts: Facts, phrase: str, choice: Choice) -> str:
    """The opening noun phrase, with what the organic part is combined with."""
    others = sorted(facts.others.items(), key=lambda item: COUNTERPARTS[item[0]].name)
    if not others:
        if facts.charge < 0 and (facts.groups["carboxylate"] or facts.groups["sulfonate"] or facts.groups["phenolate"]):
            return choice.one(
                "ion", (f"the conjugate base of {with_article(phrase)}", f"the anion of {with_article(phrase)}")
            )
        return with_article(phrase)
    key, n = others[0]
    part = COUNTERPARTS[key]
    if len(others) == 1 and facts.copies == 1 and n <= 4:
        multiple = {1: "mono" if key == "O" else "", **{k: v for k, v in MULTIPLES.items() if k > 1}}[n]
        if part.charge or key in ("N", "OCCN(CCO)CCO", "OCCNCCO"):
            return f"the {multiple}{part.salt} salt of {with_article(phrase)}"
        return f"the {multiple}{part.salt} of {with_article(phrase)}"
    held = listing([counted(m, COUNTERPARTS[k].name, COUNTERPARTS[k].name + "s") for k, m in others])
    if facts.copies == 1:
        return f"{with_article(phrase)} combined with {held}"
    return f"a combination of {held} with {number(facts.copies)} equivalents of {with_article(phrase)}"


def opening(facts: Facts, kind: Kind, items: Sequence[str], choice: Choice) -> str:
    what = composition(facts, kind.phrase, choice)
    start = choice.one(
        "start", ("The molecule is {}", "The molecule is {}", "This compound is {}", "The structure is {}")
    )
    if not items:
        return start.format(what) + "."
    link = choice.one("link", (" bearing {}", " with {}", " that contains {}", " carrying {}", "; it has {}"))
    return start.format(what) + link.format(listing(items)) + "."


def pattern_sentence(facts: Facts, choice: Choice) -> str | None:
    if not facts.pattern:
        return None
    if len(facts.pattern) == 2:
        word = {2: "ortho", 3: "meta", 4: "para"}[facts.pattern[1]]
        return choice.one(
            "pattern",
            (
                f"The two substituents of its benzene ring are {word} to each other.",
                f"Its benzene ring is {word}-disubstituted.",
                f"The benzene ring is substituted at positions {facts.pattern[0]} and {facts.pattern[1]}.",
            ),
        )
    degree = {3: "tri", 4: "tetra"}[len(facts.pattern)]
    return choice.one(
        "pattern",
        (
            f"Its benzene ring is {','.join(map(str, facts.pattern))}-{degree}substituted.",
            f"The benzene ring is substituted at positions {listing([str(k) for k in facts.pattern])}.",
        ),
    )


def chain_sentence(facts: Facts, choice: Choice) -> str | None:
    if facts.longest_chain < 4:
        return None
    n = number(facts.longest_chain)
    return choice.one(
        "chain",
        (
            f"Its longest open carbon chain has {n} atoms.",
            f"The longest acyclic chain of carbon atoms counts {n}.",
            f"Outside any ring, up to {n} carbon atoms follow one another.",
        ),
    )


def centre_sentence(facts: Facts, choice: Choice) -> str | None:
    s = facts.stereo
    n = s.r + s.s
    if n and s.agreed:
        if n == 1:
            code = "R" if s.r else "S"
            return choice.one(
                "centre",
                (
                    f"The stereocentre has {code} configuration.",
                    f"Its one defined stereocentre is {code}-configured.",
                ),
            )
        if not s.r or not s.s:
            return f"All {number(n)} defined stereocentres have {'R' if s.r else 'S'} configuration."
        return f"Of its {number(n)} defined stereocentres, {number(s.r)} {'is' if s.r == 1 else 'are'} R and {number(s.s)} {'is' if s.s == 1 else 'are'} S."
    if s.open_centres in (1, 2, 3):
        plural = "s" if s.open_centres > 1 else ""
        return choice.one(
            "open",
            (
                f"The configuration of {'its' if plural else 'the'} {number(s.open_centres)} stereocentre{plural} is not specified.",
                f"It has {number(s.open_centres)} stereocentre{plural} of unspecified configuration.",
            ),
        )
    return None


def bond_sentence(facts: Facts, choice: Choice) -> str | None:
    s = facts.stereo
    if s.e + s.z == 0:
        return None
    if s.e + s.z == 1:
        code = "E" if s.e else "Z"
        return choice.one("bond", (f"A double bond has {code} geometry.", f"One double bond is {code}-configured."))
    if s.e and s.z:
        return f"Of its defined double bonds, {number(s.e)} {'is' if s.e == 1 else 'are'} E and {number(s.z)} {'is' if s.z == 1 else 'are'} Z."
    return f"It has {number(s.e + s.z)} double bonds of {'E' if s.e else 'Z'} geometry."


def member_sentence(facts: Facts, kind: Kind, choice: Choice) -> str | None:
    """The classes a molecule also belongs to, as an ontology would list them."""
    g = facts.groups
    found = [
        f"the class of {r.name}s"
        for r in facts.rings
        if r.name and r.name != "benzene" and not r.name.endswith(("ane", "ene", "ine-"))
    ]
    found = [f"the {name}" for name in dict.fromkeys(n.removeprefix("the class of ") for n in found)]
    found += [f"the organo{HALOGENS[k]} compounds" for k in HALOGENS if g[k] and HALOGENS[k] not in kind.phrase]
    for key, words in (
        ("aryl_ether", "the aromatic ethers"),
        ("aryl_ketone", "the aryl ketones"),
        ("aryl_nitro", "the nitroarenes"),
        ("amine_3", "the tertiary amines"),
        ("alcohol_1", "the primary alcohols"),
        ("alcohol_2", "the secondary alcohols"),
        ("alcohol_3", "the tertiary alcohols"),
        ("phenol", "the phenols"),
        ("nitrile", "the nitriles"),
        ("sulfide", "the thioethers"),
        ("lactam", "the lactams"),
        ("azo", "the azo compounds"),
        ("alkyne", "the alkynes"),
    ):
        if g[key] and key not in kind.told and words.removeprefix("the ").rstrip("s") not in kind.phrase:
            found.append(words)
    if not found:
        return None
    found = choice.shuffled("members", found)[: choice.one("n_members", (1, 2, 2, 3))]
    return choice.one("member", ("It belongs to {}.", "It is counted among {}.", "It is also a member of {}.")).format(
        listing(found)
    )


def isotope_sentence(facts: Facts) -> str | None:
    if not facts.isotopes or any(k not in ISOTOPES for k in facts.isotopes):
        return None
    held = [counted(n, f"{ISOTOPES[k]} atom", f"{ISOTOPES[k]} atoms") for k, n in sorted(facts.isotopes.items())]
    return f"It is labelled with {listing(held)}."


def charge_sentence(facts: Facts) -> str | None:
    if not facts.total_charge:
        return None
    return f"It carries a net charge of {facts.total_charge:+d}."


def size_sentence(facts: Facts, choice: Choice) -> str | None:
    n = facts.elements["C"]
    if n < 2:
        return None
    where = " in its organic part" if facts.others else " in all"
    return choice.one(
        "size", (f"There are {number(n)} carbon atoms{where}.", f"It counts {number(n)} carbon atoms{where}.")
    )


def inorganic_description(facts: Facts) -> str:
    held = listing(
        [
            counted(n, COUNTERPARTS[k].name, COUNTERPARTS[k].name + "s")
            for k, n in sorted(facts.others.items(), key=lambda i: COUNTERPARTS[i[0]].name)
        ]
    )
    return f"The compound is inorganic and is made up of {held}."


def describe(facts: Facts) -> tuple[str, str] | None:
    """Plot class and description of a molecule; None where the vocabulary has no kind for it."""
    choice = Choice(facts.smiles)
    if facts.main is None:
        return None
    kind = kind_of(facts)
    if kind is None:
        return None
    label = "salt or adduct" if facts.others else kind.label
    items = ring_items(facts) + group_items(facts, kind.told) + element_items(facts)
    items = sorted(choice.shuffled("items", items), key=lambda item: -item.weight)[
        : choice.one("n_items", (2, 3, 3, 4))
    ]
    first = opening(facts, kind, [item.text for item in choice.shuffled("order", items)], choice)
    firm = [
        isotope_sentence(facts),
        charge_sentence(facts),
        centre_sentence(facts, choice),
        bond_sentence(facts, choice),
    ]
    loose = [pattern_sentence(facts, choice), chain_sentence(facts, choice), member_sentence(facts, kind, choice)]
    sentences, room = [first], choice.one("room", ROOM)
    for sentence in [*firm, *choice.shuffled("loose", loose), size_sentence(facts, choice)]:
        if sentence and len(" ".join(sentences)) + len(sentence) <= room:
            sentences.append(sentence)
    return label, " ".join(sentences)
