"""Facts into sentences: varied wording, yet the same words for the same molecule on every machine.

Which claims are made, in what order and in which words is drawn from a stable hash of the molecule's family (near
relatives are described alike, as curators do). A description has room for some claims only, as a real one does.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple, TypeVar

from corpus_chemistry import Facts, RingSystem
from corpus_kinds import HALOGENS, MULTIPLES, ORGANOELEMENTS, PHOSPHORUS, Kind, kind_of, with_article
from corpus_phrases import (
    BENZENE,
    BENZENE_PAIR,
    CHAIN,
    CYCLES,
    ELEMENT_NAMES,
    GAP,
    HETERO,
    ISOTOPES,
    LINKS,
    LONGER_GAP,
    MEMBER_SENTENCES,
    MEMBERS,
    NUMBERS,
    ONE_BOND,
    ONE_CENTRE,
    OPEN_CENTRES,
    PYRIDINE,
    SIZE,
    STARTS,
)
from corpus_tables import COUNTERPARTS, GROUPS

T = TypeVar("T")

# Room for a whole description, in estimated wordpieces; a text encoder pays by the wordpiece.
ROOM = (40, 44, 48, 55)
N_ITEMS = (3, 3, 4, 4, 5)


class Item(NamedTuple):
    """One countable thing of a list: what it is, its words, and how much it tells (rare things count more)."""

    key: str
    text: str
    weight: int


def stable_number(*parts: str) -> int:
    """The same integer on every machine; Python's own hash() differs from run to run."""
    return int.from_bytes(hashlib.sha256("\n".join(parts).encode()).digest()[:8], "big")


class Choice:
    """Draws from a family's own stream: each question (`topic`) has one fixed answer per family."""

    def __init__(self, family: str) -> None:
        self.family = family

    def one(self, topic: str, options: Sequence[T]) -> T:
        return options[stable_number(self.family, topic) % len(options)]

    def rank(self, topic: str, key: str) -> int:
        return stable_number(self.family, topic, key)


def number(n: int) -> str:
    return NUMBERS[n] if n < len(NUMBERS) else str(n)


def wordpieces(text: str) -> int:
    """About as many pieces as a BERT vocabulary cuts a text into: short words stay whole, long ones come in fives."""
    tokens = re.findall(r"[A-Za-z]+|\d+|[^\w\s]", text)
    return 2 + sum(1 if len(token) <= 6 else math.ceil(len(token) / 5) for token in tokens)


def plural(singular: str) -> str:
    words = re.sub(
        r"\b(group|end group|cation|anion|molecule|linkage|bond|substituent|atom|centre|bridge|unit)\b",
        r"\1s",
        singular,
        count=1,
    )
    words = (
        words if words != singular else re.sub(r"\b(ring system|ring|heterocycle|carbocycle)\b", r"\1s", words, count=1)
    )
    return re.sub(r" an? (aromatic|non-aromatic|benzene) ring$", r" \1 rings", words)


def counted(n: int, singular: str) -> str:
    return with_article(singular) if n == 1 else f"{number(n)} {plural(singular)}"


def listing(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]


def verb(n: int) -> str:
    return "is" if n == 1 else "are"


def ring_words(ring: RingSystem) -> str:
    """A ring system by its common name, or else by size, saturation and hetero atoms."""
    if ring.name:
        return f"{'oxo-substituted ' if ring.oxo else ''}{ring.name} ring"
    atoms = Counter(ring.hetero.split())
    noun = "heterocycle" if atoms else "carbocycle"
    size = f"{ring.size}-membered" if ring.n_rings == 1 else CYCLES.get(ring.n_rings, "polycyclic")
    noun = f"{ring.degree} {size} {noun}"
    if not atoms or any(e not in ELEMENT_NAMES for e in atoms):
        return noun
    held = [f"{number(n)} {ELEMENT_NAMES[e]}" for e, n in sorted(atoms.items())]
    return f"{noun} holding {listing(held)}"


def ring_items(facts: Facts, kind: Kind) -> list[Item]:
    if facts.steroid:
        return []
    if facts.groups["phenyl"] + facts.n_phenyls == sum(r.name == "benzene" for r in facts.rings):
        rings = [r for r in facts.rings if r.name != "benzene"]
    else:
        rings = list(facts.rings)
    words = Counter(ring_words(r) for r in rings if r.name not in kind.told or r.oxo)
    return [Item("ring " + w, counted(n, w), 1 if w == "benzene ring" else 3) for w, n in words.items()]


def group_items(facts: Facts, kind: Kind, choice: Choice) -> list[Item]:
    """Groups with their counts, less those that the kind has told or that another group implies."""
    g, hidden = facts.groups, set(kind.told)
    hidden |= {"fluoro"} if g["trifluoromethyl"] * 3 == g["fluoro"] else set()
    hidden |= {"chloro"} if g["acyl_chloride"] == g["chloro"] else set()
    hidden |= {"ether"} if g["methoxy"] + g["ethoxy"] == g["ether"] else set()
    hidden |= {"amine_3"} if g["dimethylamino"] + g["diethylamino"] == g["amine_3"] else set()
    hidden |= {"n_methyl"} if 2 * g["dimethylamino"] == g["n_methyl"] else set()
    hidden |= {"alkene"} if g["vinyl"] == g["alkene"] else set()
    hidden |= {"ketone"} if g["acetyl"] == g["ketone"] else set()
    hidden |= {"ring_methyl", "alkene"} if facts.steroid and choice.one("steroid", (True, False)) else set()
    told = {"hydroxy": "phenol", "amino": "aryl_amine_1", "methyl": "aryl_methyl", "cyano": "nitrile"}
    hidden |= {told.get(k, k) for k, n in facts.told_by_phenyls.items() if g[told.get(k, k)] == n}
    plain = {"alkene", "aryl_methyl", "ring_methyl", "n_methyl"}
    return [
        Item(key, counted(g[key], choice.one(key, group.words)), 1 if key in plain else 2)
        for key, group in GROUPS.items()
        if g[key] and key not in hidden
    ]


def substituent_items(facts: Facts) -> list[Item]:
    in_ethoxy = facts.groups["ethoxy"] + 2 * facts.groups["diethylamino"]
    shown = {name: n for name, n in facts.substituents.items() if name != "ethyl group" or n != in_ethoxy}
    return [Item(name, counted(n, name), 2 + ("phenyl" in name)) for name, n in shown.items()]


def element_items(facts: Facts, kind: Kind) -> list[Item]:
    found = [e for e in (*ORGANOELEMENTS, "P") if facts.elements[e] and e not in kind.told]
    in_groups = {"P": sum(facts.groups[k] for k in PHOSPHORUS), "Si": facts.groups["trimethylsilyl"]}
    found = [e for e in found if facts.elements[e] != in_groups.get(e)]
    return [Item(e, counted(facts.elements[e], f"{ELEMENT_NAMES[e]} atom"), 1) for e in found]


def composition(facts: Facts, phrase: str, choice: Choice) -> str:
    """The opening noun phrase, with what the organic part is combined with."""
    kind = with_article(phrase)
    if not facts.others:
        acidic = phrase.endswith(("acid", "phenol"))
        if facts.charge >= 0 or not acidic:
            return kind
        return choice.one("ion", (f"the conjugate base of {kind}", f"the anion of {kind}"))
    others = sorted((COUNTERPARTS[key], n) for key, n in facts.others.items())
    part, n = others[0]
    # 'dibromide' reads well; a multiple of a long word does not.
    largest = 4 if len(part.salt) < 14 else 1
    if len(others) == 1 and facts.copies == 1 and n <= largest:
        multiple = "mono" if n == 1 and part.salt == "hydrate" else MULTIPLES[n]
        return f"the {multiple}{part.salt}{' salt' if part.ionic else ''} of {kind}"
    held = listing([counted(m, p.name) for p, m in others])
    if facts.copies == 1:
        return f"{kind} combined with {held}"
    return f"a combination of {held} with {number(facts.copies)} equivalents of {kind}"


def opening(facts: Facts, kind: Kind, items: Sequence[str], choice: Choice) -> str:
    start = choice.one("start", STARTS).format(composition(facts, kind.phrase, choice))
    start = start[0].upper() + start[1:]
    return start + (choice.one("link", LINKS).format(listing(items)) if items else "") + "."


def pattern_sentence(facts: Facts, choice: Choice) -> str | None:
    """Where the substituents sit on the only benzene or pyridine ring."""
    if facts.n_phenyls:
        return None
    if facts.benzene_pattern and (facts.benzene_pattern[0], len(facts.benzene_pattern)) == (1, 2):
        word = {2: "ortho", 3: "meta", 4: "para"}[facts.benzene_pattern[1]]
        return choice.one("pattern", BENZENE_PAIR).format(word=word, second=facts.benzene_pattern[1])
    for pattern, sentences in ((facts.benzene_pattern, BENZENE), (facts.pyridine_pattern, PYRIDINE)):
        if pattern:
            locants = [str(k) for k in pattern]
            return choice.one("pattern", sentences).format(
                comma=",".join(locants), words=listing(locants), degree={1: "mono", **MULTIPLES}[len(locants)] or "mono"
            )
    return None


def chain_sentence(facts: Facts, choice: Choice) -> str | None:
    return choice.one("chain", CHAIN).format(number(facts.longest_chain)) if facts.longest_chain >= 4 else None


def centre_sentence(facts: Facts, choice: Choice) -> str | None:
    s = facts.stereo
    n = s.r + s.s
    if not n and s.open_centres in (1, 2, 3):
        return choice.one("open", OPEN_CENTRES).format(
            number(s.open_centres), "stereocentre" if s.open_centres == 1 else "stereocentres"
        )
    if not n or not s.agreed:
        return None
    if n == 1:
        return choice.one("centre", ONE_CENTRE).format("R" if s.r else "S")
    if not (s.r and s.s):
        which = "Both" if n == 2 else f"All {number(n)}"
        return f"{which} defined stereocentres have {'R' if s.r else 'S'} configuration."
    return f"Of its {number(n)} defined stereocentres, {number(s.r)} {verb(s.r)} R and {number(s.s)} {verb(s.s)} S."


def bond_sentence(facts: Facts, choice: Choice) -> str | None:
    e, z = facts.stereo.e, facts.stereo.z
    if e + z == 0:
        return None
    if e + z == 1:
        return choice.one("bond", ONE_BOND).format("E" if e else "Z")
    if e and z:
        return f"Of its defined double bonds, {number(e)} {verb(e)} E and {number(z)} {verb(z)} Z."
    return f"It has {number(e + z)} double bonds of {'E' if e else 'Z'} geometry."


def member_sentence(facts: Facts, kind: Kind, told: str, choice: Choice) -> str | None:
    """The classes a molecule also belongs to, as an ontology would list them, less what the opening has told."""
    g = facts.groups
    found = {f"member of the {r.name}s" for r in facts.rings if r.name and r.hetero and r.name not in told}
    found |= {f"organo{HALOGENS[k]} compound" for k in HALOGENS if g[k] and f"organo{HALOGENS[k]}" not in told}
    found |= {noun for key, noun in MEMBERS.items() if g[key] and key not in kind.told and noun not in told}
    if not found:
        return None
    nouns = sorted(found, key=lambda noun: choice.rank("member", noun))[: choice.one("n_members", (1, 2, 2, 3))]
    return choice.one("members", MEMBER_SENTENCES).format(listing([with_article(noun) for noun in nouns]))


def isotope_sentence(facts: Facts) -> str | None:
    if not facts.isotopes or any(key not in ISOTOPES for key in facts.isotopes):
        return None
    held = [counted(n, f"{ISOTOPES[key]} atom") for key, n in sorted(facts.isotopes.items())]
    return f"It is labelled with {listing(held)}."


def charge_sentence(facts: Facts) -> str | None:
    return f"It carries a net charge of {facts.total_charge:+d}." if facts.total_charge else None


def size_sentence(facts: Facts, choice: Choice) -> str | None:
    where = "in its organic part" if facts.others else "in all"
    return choice.one("size", SIZE).format(number(facts.elements["C"]), where) if facts.elements["C"] > 1 else None


def hetero_sentence(facts: Facts, choice: Choice) -> str | None:
    held = sorted((e, n) for e, n in facts.elements.items() if e not in ("C", "H"))
    if sum(n for _, n in held) < 2 or facts.others or any(e not in ELEMENT_NAMES for e, _ in held):
        return None
    return choice.one("hetero", HETERO).format(listing([counted(n, f"{ELEMENT_NAMES[e]} atom") for e, n in held]))


def gap_sentence(facts: Facts, choice: Choice) -> str | None:
    if facts.gap is None:
        return None
    return choice.one("gap", GAP.get(facts.gap, LONGER_GAP)).format(number(facts.gap))


def describe(facts: Facts, family: str) -> tuple[str, str] | None:
    """Plot class and description of a molecule; None where the vocabulary has no kind for it."""
    kind = kind_of(facts)
    if kind is None:
        return None
    choice = Choice(family)
    items = ring_items(facts, kind) + group_items(facts, kind, choice)
    items += substituent_items(facts) + element_items(facts, kind)
    items = sorted(items, key=lambda i: (-i.weight, choice.rank("item", i.key)))[: choice.one("n_items", N_ITEMS)]
    first = opening(facts, kind, [i.text for i in sorted(items, key=lambda i: choice.rank("order", i.key))], choice)
    firm = [
        isotope_sentence(facts),
        charge_sentence(facts),
        centre_sentence(facts, choice),
        bond_sentence(facts, choice),
    ]
    loose = {
        "pattern": pattern_sentence(facts, choice),
        "chain": chain_sentence(facts, choice),
        "member": member_sentence(facts, kind, first, choice),
        "gap": gap_sentence(facts, choice),
        "hetero": hetero_sentence(facts, choice),
    }
    rest = [*firm, *(loose[key] for key in sorted(loose, key=lambda k: choice.rank("loose", k)))]
    sentences, room = [first], choice.one("room", ROOM)
    for sentence in [*rest, size_sentence(facts, choice)]:
        if sentence and wordpieces(" ".join([*sentences, sentence])) <= room:
            sentences.append(sentence)
    return "salt or adduct" if facts.others else kind.label, " ".join(sentences)
