"""Claims of the corpus counted in another way: by walking bonds, with no pattern language in it.

`data/corpus_tables.py` finds groups with SMARTS. Here each phrase of a description has a plain function on atoms, so
that a wrong pattern cannot confirm itself. `claims_of` finds the counted groups and the sentences with numbers in a
description and says whether each is true.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cached_property

from rdkit import Chem
from rdkit.Chem import rdCIPLabeler

Atom = Chem.Atom

WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
VALUES = {word: k for k, word in enumerate(WORDS)} | {str(k): k for k in range(13, 100)} | {"a": 1, "an": 1}
NUMBER = rf"(?:{'|'.join(WORDS[1:])}|\d\d)"
COUNT = rf"(?:an?|{NUMBER})"
SYMBOLS = {
    "nitrogen": "N", "oxygen": "O", "sulfur": "S", "silicon": "Si", "phosphorus": "P", "boron": "B", "selenium": "Se",
    "tin": "Sn", "germanium": "Ge", "arsenic": "As", "mercury": "Hg", "lead": "Pb", "tellurium": "Te", "antimony": "Sb",
    "bismuth": "Bi", "fluorine": "F", "chlorine": "Cl", "bromine": "Br", "iodine": "I",
}  # fmt: skip  # fmt: skip
ISOTOPES = {
    "deuterium": (1, 2), "tritium": (1, 3), "carbon-11": (6, 11), "carbon-13": (6, 13), "carbon-14": (6, 14),
    "nitrogen-15": (7, 15), "oxygen-18": (8, 18), "sulfur-35": (16, 35), "iodine-125": (53, 125),
    "iodine-131": (53, 131),
}  # fmt: skip  # fmt: skip
# Two wordings for one group; the second is the one that has a counter.
SYNONYMS = {
    "free carboxylic acid group": "carboxy group",
    "carboxylic ester linkage": "ester group",
    "cyclic ester group": "lactone group",
    "N-monosubstituted amide group": "secondary amide group",
    "N,N-disubstituted amide group": "tertiary amide group",
    "cyclic amide group": "lactam group",
    "formyl group on carbon": "aldehyde group",
    "ketonic carbonyl group": "ketone group",
    "primary alcohol group": "primary hydroxy group",
    "secondary alcohol group": "secondary hydroxy group",
    "tertiary alcohol group": "tertiary hydroxy group",
    "hydroxy group on a benzene ring": "phenolic hydroxy group",
    "acyclic ether bond": "ether linkage outside rings",
    "primary amine group": "primary amino group",
    "amino group on an aromatic ring": "aromatic amino group",
    "secondary amine group": "secondary amino group",
    "tertiary amine group": "tertiary amino group",
    "nitro substituent": "nitro group",
    "C≡N group": "cyano group",
    "thiol group": "sulfanyl group",
    "sulfonyl bridge": "sulfone group",
    "sulfonic amide group": "sulfonamide group",
    "fluorine atom on carbon": "fluoro substituent",
    "chlorine atom on carbon": "chloro substituent",
    "bromine atom on carbon": "bromo substituent",
    "iodine atom on carbon": "iodo substituent",
    "CF3 group": "trifluoromethyl group",
    "carbon-carbon double bond": "C=C double bond",
    "CH2=CH end group": "terminal vinyl group",
    "aromatic methyl group": "methyl group on an aromatic ring",
    "methyl group on nitrogen": "N-methyl group",
    "tertiary butyl group": "tert-butyl group",
    "propan-2-yl group": "isopropyl group",
    "monosubstituted benzene ring": "phenyl group",
}


class Graph:
    """The organic part of a row, with the handful of questions that the counters ask."""

    def __init__(self, smiles: str) -> None:
        self.whole = Chem.MolFromSmiles(smiles)
        parts = set(smiles.split("."))
        self.has_partners = len(parts) > 1
        self.mol = max(map(Chem.MolFromSmiles, parts), key=Chem.Mol.GetNumHeavyAtoms)
        self.atoms = [a for a in self.mol.GetAtoms() if a.GetAtomicNum() > 1]
        self.rings = [set(ring) for ring in Chem.GetSymmSSSR(self.mol)]

    def near(self, atom: Atom, symbol: str = "", order: float = 0) -> list[Atom]:
        """Heavy neighbours, of one element and bond order (1, 2, 3; 1.5 is aromatic) where asked."""
        near = []
        for bond in atom.GetBonds():
            other = bond.GetOtherAtom(atom)
            fits = symbol in ("", other.GetSymbol()) and order in (0, bond.GetBondTypeAsDouble())
            if other.GetAtomicNum() > 1 and fits:
                near.append(other)
        return near

    def of(self, symbol: str, charge: int | None = None) -> list[Atom]:
        return [a for a in self.atoms if a.GetSymbol() == symbol and charge in (None, a.GetFormalCharge())]

    def ring_bond(self, a: Atom, b: Atom) -> bool:
        return self.mol.GetBondBetweenAtoms(a.GetIdx(), b.GetIdx()).IsInRing()

    @cached_property
    def benzene_rings(self) -> list[set[int]]:
        """Rings of six aromatic carbon atoms, fused or not."""
        aromatic = {a.GetIdx() for a in self.of("C") if a.GetIsAromatic()}
        return [ring for ring in self.rings if len(ring) == 6 and ring <= aromatic]

    @cached_property
    def six_carbon_aromatic(self) -> set[int]:
        return set().union(*self.benzene_rings)


def hydrogens(atom: Atom) -> int:
    return atom.GetTotalNumHs(includeNeighbors=True)


def terminal(g: Graph, atom: Atom) -> bool:
    return len(g.near(atom)) == 1


def oxo(g: Graph, atom: Atom, symbol: str = "O") -> int:
    return sum(1 for o in g.near(atom, symbol, 2) if terminal(g, o))


def saturated(g: Graph, atom: Atom) -> bool:
    return atom.GetSymbol() == "C" and len(g.near(atom)) + hydrogens(atom) == 4


def methyl(g: Graph, atom: Atom) -> bool:
    return saturated(g, atom) and hydrogens(atom) == 3


def acyl(g: Graph, atom: Atom) -> bool:
    """R-C(=O)-, R being carbon or hydrogen."""
    if atom.GetSymbol() != "C" or atom.GetIsAromatic() or not oxo(g, atom):
        return False
    return bool(g.near(atom, "C")) or hydrogens(atom) == 1


def plain_carbon(g: Graph, atom: Atom) -> bool:
    """A carbon that is not doubly bonded to O, N or S."""
    return atom.GetSymbol() == "C" and not any(g.near(atom, s, 2) for s in "ONS")


def hydroxyls(g: Graph, atom: Atom) -> list[Atom]:
    return [o for o in g.near(atom, "O", 1) if hydrogens(o) == 1 and o.GetFormalCharge() == 0]


def oxides(g: Graph, atom: Atom) -> list[Atom]:
    return [o for o in g.near(atom, "O", 1) if o.GetFormalCharge() == -1 and terminal(g, o)]


def bridging(g: Graph, atom: Atom) -> list[Atom]:
    """The two partners of a divalent atom without hydrogen."""
    partners = g.near(atom)
    return partners if len(partners) == 2 and hydrogens(atom) == 0 and atom.GetFormalCharge() == 0 else []


def esters(g: Graph, ring: bool) -> list[tuple[Atom, Atom, Atom]]:
    """(acyl carbon, oxygen, carbon beyond it)."""
    found = []
    for o in g.of("O"):
        ends = bridging(g, o)
        for one, other in zip(ends, ends[::-1], strict=True):
            if acyl(g, one) and plain_carbon(g, other) and g.ring_bond(one, o) == ring:
                found.append((one, o, other))
    return found


def amides(g: Graph) -> Iterator[tuple[Atom, Atom, list[Atom]]]:
    """(acyl carbon, nitrogen, what else the nitrogen carries), hydrogens aside."""
    for n in g.of("N"):
        if n.GetIsAromatic() or len(g.near(n)) + hydrogens(n) != 3:
            continue
        for c in g.near(n, "C", 1):
            if acyl(g, c):
                yield c, n, [x for x in g.near(n) if x.GetIdx() != c.GetIdx()]


def open_amides(g: Graph, hs: int) -> list[tuple[Atom, Atom]]:
    return [
        (c, n)
        for c, n, rest in amides(g)
        if hydrogens(n) == hs and not g.ring_bond(c, n) and all(plain_carbon(g, x) for x in rest)
    ]


def lactams(g: Graph) -> int:
    return sum(
        bool(g.near(c, "C")) and g.ring_bond(c, n) and hydrogens(n) < 2 and all(plain_carbon(g, x) for x in rest)
        for c, n, rest in amides(g)
    )


def amine_carbon(g: Graph, atom: Atom) -> bool:
    if atom.GetSymbol() != "C":
        return False
    return (
        atom.GetIsAromatic()
        or saturated(g, atom)
        or bool(g.near(atom, "C", 2) and len(g.near(atom)) + hydrogens(atom) == 3)
    )


def amines(g: Graph, hs: int, aromatic: bool | None = None) -> int:
    count = 0
    for n in g.of("N", 0):
        rest = g.near(n)
        if n.GetIsAromatic() or hydrogens(n) != hs or len(rest) != 3 - hs or not all(amine_carbon(g, c) for c in rest):
            continue
        count += aromatic is None or rest[0].GetIsAromatic() == aromatic
    return count


def alcohols(g: Graph, carbons: int) -> int:
    return sum(
        len(hydroxyls(g, c))
        for c in g.of("C")
        if saturated(g, c) and len(g.near(c, "C")) >= carbons and hydrogens(c) == 3 - carbons
    )


def sulfonyl(g: Graph, *, needs: Callable[[Graph, Atom], bool]) -> int:
    return sum(oxo(g, s) == 2 and bool(g.near(s, "C")) and len(g.near(s)) == 4 and needs(g, s) for s in g.of("S"))


def double_carbons(g: Graph) -> list[tuple[Atom, Atom]]:
    return [
        (b.GetBeginAtom(), b.GetEndAtom())
        for b in g.mol.GetBonds()
        if b.GetBondTypeAsDouble() == 2 and b.GetBeginAtom().GetSymbol() == b.GetEndAtom().GetSymbol() == "C"
    ]


def on_carbon(symbol: str) -> Callable[[Graph], int]:
    return lambda g: sum(terminal(g, x) and x.GetFormalCharge() == 0 and bool(g.near(x, "C")) for x in g.of(symbol))


def methyls_on(test: Callable[[Graph, Atom], bool]) -> Callable[[Graph], int]:
    return lambda g: sum(methyl(g, c) and any(test(g, x) for x in g.near(c)) for c in g.of("C"))


def alkoxy(g: Graph, ethyl: bool) -> int:
    count = 0
    for o in g.of("O"):
        ends = bridging(g, o)
        for one, other in zip(ends, ends[::-1], strict=True):
            head = (
                methyl(g, one)
                if not ethyl
                else hydrogens(one) == 2 and saturated(g, one) and any(methyl(g, x) for x in g.near(one))
            )
            count += head and other.GetSymbol() == "C" and not (g.near(other, "O", 2) or g.near(other, "S", 2))
    return count


def dialkylamino(g: Graph, ethyl: bool) -> int:
    def alkyl(x: Atom) -> bool:
        if not ethyl:
            return methyl(g, x)
        return saturated(g, x) and hydrogens(x) == 2 and any(methyl(g, y) for y in g.near(x))

    count = 0
    for n in g.of("N", 0):
        rest = g.near(n)
        if len(rest) == 3 and not n.GetIsAromatic() and all(x.GetSymbol() == "C" for x in rest):
            others = [x for x in rest if not alkyl(x)]
            count += len(others) == 1 and not (g.near(others[0], "O", 2) or g.near(others[0], "S", 2))
    return count


def branched(g: Graph, methyls: int) -> int:
    """Carbons that hold exactly that many methyl groups and one other atom (tert-butyl: 3, isopropyl: 2)."""
    return sum(
        saturated(g, c)
        and sum(methyl(g, x) for x in g.near(c)) == methyls
        and len(g.near(c)) == methyls + 1
        and hydrogens(c) == 3 - methyls
        for c in g.of("C")
    )


def phenyls(g: Graph) -> int:
    """Benzene rings that share no atom with another ring and carry one substituent."""
    atom = g.mol.GetAtomWithIdx
    alone = (ring for ring in g.benzene_rings if sum(bool(ring & other) for other in g.rings) == 1)
    return sum(sorted(hydrogens(atom(i)) for i in ring) == [0, 1, 1, 1, 1, 1] for ring in alone)


def nitro_groups(g: Graph, partners: str) -> int:
    return sum(
        oxo(g, n) == 1
        and len(oxides(g, n)) == 1
        and any(x.GetSymbol() in partners for x in g.near(n, "", 1) if not terminal(g, x) or x.GetSymbol() != "O")
        for n in g.of("N", 1)
        if len(g.near(n)) == 3
    )


COUNTERS: dict[str, Callable[[Graph], int]] = {
    "carboxy group": lambda g: sum(len(hydroxyls(g, c)) for c in g.of("C") if acyl(g, c)),
    "carboxylate group": lambda g: sum(len(oxides(g, c)) for c in g.of("C") if acyl(g, c)),
    "ester group": lambda g: len(esters(g, ring=False)),
    "lactone group": lambda g: len(esters(g, ring=True)),
    "primary amide group": lambda g: len(open_amides(g, 2)),
    "secondary amide group": lambda g: len(open_amides(g, 1)),
    "tertiary amide group": lambda g: len(open_amides(g, 0)),
    "lactam group": lactams,
    "aldehyde group": lambda g: sum(
        oxo(g, c) == 1 and hydrogens(c) == 1 and len(g.near(c, "C")) == 1 for c in g.of("C")
    ),
    "ketone group": lambda g: sum(
        oxo(g, c) == 1 and len(g.near(c, "C")) == 2 and not c.GetIsAromatic() for c in g.of("C")
    ),
    "primary hydroxy group": lambda g: alcohols(g, 1),
    "secondary hydroxy group": lambda g: alcohols(g, 2),
    "tertiary hydroxy group": lambda g: alcohols(g, 3),
    "phenolic hydroxy group": lambda g: sum(
        len(hydroxyls(g, c)) for c in g.of("C") if c.GetIdx() in g.six_carbon_aromatic
    ),
    "ether linkage outside rings": lambda g: sum(
        len(bridging(g, o)) == 2 and not o.IsInRing() and all(plain_carbon(g, c) for c in bridging(g, o))
        for o in g.of("O")
    ),
    "methoxy group": lambda g: alkoxy(g, ethyl=False),
    "ethoxy group": lambda g: alkoxy(g, ethyl=True),
    "primary amino group": lambda g: amines(g, 2, aromatic=False),
    "aromatic amino group": lambda g: amines(g, 2, aromatic=True),
    "secondary amino group": lambda g: amines(g, 1),
    "tertiary amino group": lambda g: amines(g, 0),
    "dimethylamino group": lambda g: dialkylamino(g, ethyl=False),
    "diethylamino group": lambda g: dialkylamino(g, ethyl=True),
    "nitro group": lambda g: nitro_groups(g, "CN"),
    "cyano group": lambda g: sum(
        terminal(g, n) and any(g.near(c, "C", 1) or g.near(c, "N", 1) for c in g.near(n, "C", 3)) for n in g.of("N")
    ),
    "sulfanyl group": lambda g: sum(hydrogens(s) == 1 and bool(g.near(s, "C")) for s in g.of("S", 0)),
    "sulfone group": lambda g: sulfonyl(g, needs=lambda g, s: len(g.near(s, "C")) == 2),
    "sulfonic acid group": lambda g: sulfonyl(g, needs=lambda g, s: len(hydroxyls(g, s)) == 1),
    "sulfonate group": lambda g: sulfonyl(g, needs=lambda g, s: len(oxides(g, s)) == 1),
    "sulfonamide group": lambda g: sulfonyl(
        g,
        needs=lambda g, s: any(len(g.near(n)) + hydrogens(n) == 3 and not n.GetIsAromatic() for n in g.near(s, "N", 1)),
    ),
    "fluoro substituent": on_carbon("F"),
    "chloro substituent": on_carbon("Cl"),
    "bromo substituent": on_carbon("Br"),
    "iodo substituent": on_carbon("I"),
    "trifluoromethyl group": lambda g: sum(len(g.near(c, "F")) == 3 and len(g.near(c, "C")) == 1 for c in g.of("C")),
    "C=C double bond": lambda g: len(double_carbons(g)),
    "terminal vinyl group": lambda g: sum(sorted((hydrogens(a), hydrogens(b))) == [1, 2] for a, b in double_carbons(g)),
    "acetyl group on carbon": lambda g: sum(
        oxo(g, c) == 1 and len(g.near(c, "C")) == 2 and sum(methyl(g, x) for x in g.near(c)) == 1 for c in g.of("C")
    ),
    "methyl group on an aromatic ring": methyls_on(lambda g, x: x.GetIsAromatic() and x.GetSymbol() == "C"),
    "methyl group on a non-aromatic ring": methyls_on(
        lambda g, x: x.GetSymbol() == "C" and x.IsInRing() and not x.GetIsAromatic()
    ),
    "N-methyl group": methyls_on(lambda g, x: x.GetSymbol() == "N"),
    "tert-butyl group": lambda g: branched(g, 3),
    "isopropyl group": lambda g: branched(g, 2),
    "phenyl group": phenyls,
}
COUNTERS |= {phrase: COUNTERS[base] for phrase, base in SYNONYMS.items()}


def labels(m: Graph) -> Counter[str]:
    """R and S by the newer labelling, provided the older one agrees."""
    old = dict(Chem.FindMolChiralCenters(Chem.Mol(m.mol), useLegacyImplementation=True))
    mol = Chem.Mol(m.mol)
    rdCIPLabeler.AssignCIPLabels(mol)
    new = {a.GetIdx(): a.GetProp("_CIPCode") for a in mol.GetAtoms() if a.HasProp("_CIPCode")}
    return Counter(old.values()) if old == {i: code for i, code in new.items() if code in "RS"} else Counter()


def geometries(m: Graph) -> Counter[str]:
    return Counter(
        str(b.GetStereo())[-1] for b in m.mol.GetBonds() if str(b.GetStereo()).endswith(("STEREOE", "STEREOZ"))
    )


def open_centres(m: Graph) -> int:
    if "@" in Chem.MolToSmiles(m.mol):
        return -1
    return len(Chem.FindMolChiralCenters(Chem.Mol(m.mol), includeUnassigned=True, useLegacyImplementation=False))


def longest_chain(m: Graph) -> int:
    """Longest simple path over carbons outside rings, by depth-first search from every carbon."""
    carbons = {a.GetIdx() for a in m.of("C") if not a.IsInRing()}

    def depth(i: int, came_from: int) -> int:
        onward = [x.GetIdx() for x in m.near(m.mol.GetAtomWithIdx(i), "C") if x.GetIdx() in carbons]
        return 1 + max((depth(x, i) for x in onward if x != came_from), default=0)

    return max((depth(i, -1) for i in carbons), default=0)


def counted(text: str, atoms: dict) -> Counter:
    """'one nitrogen-15 and two deuterium atoms' as a count of each."""
    return Counter({atoms[name]: VALUES[count] for count, name in re.findall(rf"({COUNT}) (\S+) atoms?", text)})


def hetero_atoms(m: Graph, text: str) -> bool:
    return counted(text, SYMBOLS) == Counter(a.GetSymbol() for a in m.atoms if a.GetSymbol() != "C")


def isotopes(m: Graph, text: str) -> bool:
    return counted(text, ISOTOPES) == Counter(
        (a.GetAtomicNum(), a.GetIsotope()) for a in m.mol.GetAtoms() if a.GetIsotope()
    )


def centres(m: Graph, total: str, r: str, s: str) -> bool:
    return labels(m) == Counter(R=VALUES[r], S=VALUES[s]) and VALUES[total] == VALUES[r] + VALUES[s]


def carbons(m: Graph, n: str, where: str) -> bool:
    return len(m.of("C")) == VALUES[n] and (where == "in its organic part") == m.has_partners


N = rf"({NUMBER})"
SENTENCES: dict[str, Callable[..., bool]] = {
    rf"Its longest open carbon chain has {N} atoms": lambda m, n: longest_chain(m) == VALUES[n],
    rf"The longest acyclic chain of carbon atoms counts {N}": lambda m, n: longest_chain(m) == VALUES[n],
    rf"Outside any ring, up to {N} carbon atoms follow one another": lambda m, n: longest_chain(m) == VALUES[n],
    rf"Its acyclic carbon backbone is {N} atoms long": lambda m, n: longest_chain(m) == VALUES[n],
    r"The stereocentre has ([RS]) configuration": lambda m, c: labels(m) == Counter([c]),
    r"Its one defined stereocentre is ([RS])-configured": lambda m, c: labels(m) == Counter([c]),
    r"The chiral centre is ([RS])": lambda m, c: labels(m) == Counter([c]),
    r"Both defined stereocentres have ([RS]) configuration": lambda m, c: labels(m) == Counter({c: 2}),
    rf"All {N} defined stereocentres have ([RS]) configuration": lambda m, n, c: labels(m) == Counter({c: VALUES[n]}),
    rf"Of its {N} defined stereocentres, {N} (?:is|are) R and {N} (?:is|are) S": centres,
    rf"The configuration of {N} stereocentres? is not specified": lambda m, n: open_centres(m) == VALUES[n],
    rf"It has {N} stereocentres? of unspecified configuration": lambda m, n: open_centres(m) == VALUES[n],
    rf"No configuration is given for {N} stereocentres?": lambda m, n: open_centres(m) == VALUES[n],
    r"(?:A double bond has|One double bond is) ([EZ])(?: geometry|-configured)": lambda m, c: (
        geometries(m) == Counter([c])
    ),
    rf"It has {N} double bonds of ([EZ]) geometry": lambda m, n, c: geometries(m) == Counter({c: VALUES[n]}),
    rf"Of its defined double bonds, {N} (?:is|are) E and {N} (?:is|are) Z": lambda m, e, z: (
        geometries(m) == Counter(E=VALUES[e], Z=VALUES[z])
    ),
    r"It is labelled with (.+)": isotopes,
    r"It carries a net charge of ([+-]\d+)": lambda m, q: (
        sum(a.GetFormalCharge() for a in m.whole.GetAtoms()) == int(q) != 0
    ),
    rf"(?:There are|It counts) {N} carbon atoms (in all|in its organic part)": lambda m, n, where: carbons(m, n, where),
    rf"Carbon atoms number {N} (in all|in its organic part)": lambda m, n, where: carbons(m, n, where),
    r"Besides carbon and hydrogen it is built from (.+)": hetero_atoms,
    r"Its hetero atoms: (.+)": hetero_atoms,
    r"The hetero atoms are (.+)": hetero_atoms,
    r"Among the elements other than carbon and hydrogen one counts (.+)": hetero_atoms,
}
_NOUNS = "|".join(
    re.sub(r"(group|linkage|bond|substituent|atom|bridge|ring)(?= |$)", r"\1s?", re.escape(noun).replace(r"\ ", " "))
    for noun in sorted(COUNTERS, key=len, reverse=True)
)
_CLAIM = re.compile(rf"\b({COUNT}) ({_NOUNS})(?=[,.;]| and | with )")


def claims_of(smiles: str, description: str) -> Iterator[tuple[str, bool]]:
    """Every counted group and every sentence of numbers in a description, and whether it is true."""
    m = Graph(smiles)
    for count, noun in _CLAIM.findall(description):
        one = re.sub(r"(group|linkage|bond|substituent|atom|bridge|(?<!outside )ring)s\b", r"\1", noun)
        one = re.sub(
            r" on (aromatic|benzene|non-aromatic) ring$", lambda k: f" on a{'n' * (k[1][0] == 'a')} {k[1]} ring", one
        )
        yield f"{count} {noun}", COUNTERS[one](m) == VALUES[count]
    for sentence in re.split(r"(?<=\.) (?=[A-Z])", description):
        for pattern, holds in SENTENCES.items():
            if match := re.fullmatch(pattern + r"\.", sentence):
                yield sentence, holds(m, *match.groups())
