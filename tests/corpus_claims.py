"""Claims of the corpus counted in another way: by walking bonds, with no pattern language in it.

`data/corpus_tables.py` finds groups with SMARTS. Here each phrase of a description has a plain function on atoms, so
that a wrong pattern cannot confirm itself. `claims_of` finds the most usual counted groups and sentences with
numbers in a description and says whether each is true.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from rdkit import Chem
from rdkit.Chem import rdCIPLabeler

Atom = Chem.Atom

WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
VALUES = {word: k for k, word in enumerate(WORDS)} | {str(k): k for k in range(13, 100)} | {"a": 1, "an": 1}
NUMBER = rf"(?:{'|'.join(WORDS[1:])}|\d\d)"
COUNT = rf"(?:an?|{NUMBER})"
_TABLE = Chem.GetPeriodicTable()
SYMBOLS = {_TABLE.GetElementName(number).lower(): _TABLE.GetElementSymbol(number) for number in range(1, 84)}
# Two wordings for one group; the second is the one that has a counter.
SYNONYMS = {
    "free carboxylic acid group": "carboxy group",
    "ketonic carbonyl group": "ketone group",
    "nitro substituent": "nitro group",
    "C≡N group": "cyano group",
    "fluorine atom on carbon": "fluoro substituent",
    "chlorine atom on carbon": "chloro substituent",
    "bromine atom on carbon": "bromo substituent",
    "iodine atom on carbon": "iodo substituent",
    "CF3 group": "trifluoromethyl group",
    "carbon-carbon double bond": "C=C double bond",
}


class Graph:
    """The organic part of a row, with the handful of questions that the counters ask."""

    def __init__(self, smiles: str) -> None:
        parts = set(smiles.split("."))
        self.has_partners = len(parts) > 1
        self.mol = max(map(Chem.MolFromSmiles, parts), key=Chem.Mol.GetNumHeavyAtoms)
        self.atoms = [a for a in self.mol.GetAtoms() if a.GetAtomicNum() > 1]

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


def hydrogens(atom: Atom) -> int:
    return atom.GetTotalNumHs(includeNeighbors=True)


def terminal(g: Graph, atom: Atom) -> bool:
    return len(g.near(atom)) == 1


def oxo(g: Graph, atom: Atom, symbol: str = "O") -> int:
    return sum(1 for o in g.near(atom, symbol, 2) if terminal(g, o))


def acyl(g: Graph, atom: Atom) -> bool:
    """R-C(=O)-, R being carbon or hydrogen."""
    if atom.GetSymbol() != "C" or atom.GetIsAromatic() or not oxo(g, atom):
        return False
    return bool(g.near(atom, "C")) or hydrogens(atom) == 1


def hydroxyls(g: Graph, atom: Atom) -> list[Atom]:
    return [o for o in g.near(atom, "O", 1) if hydrogens(o) == 1 and o.GetFormalCharge() == 0]


def oxides(g: Graph, atom: Atom) -> list[Atom]:
    return [o for o in g.near(atom, "O", 1) if o.GetFormalCharge() == -1 and terminal(g, o)]


def double_carbons(g: Graph) -> int:
    return sum(len(g.near(c, "C", 2)) for c in g.of("C")) // 2


def on_carbon(symbol: str) -> Callable[[Graph], int]:
    return lambda g: sum(terminal(g, x) and x.GetFormalCharge() == 0 and bool(g.near(x, "C")) for x in g.of(symbol))


def nitro_groups(g: Graph) -> int:
    three = [n for n in g.of("N", 1) if len(g.near(n)) == 3 and oxo(g, n) == 1 and len(oxides(g, n)) == 1]
    return sum(any(x.GetSymbol() in "CN" for x in g.near(n, "", 1)) for n in three)


COUNTERS: dict[str, Callable[[Graph], int]] = {
    "carboxy group": lambda g: sum(len(hydroxyls(g, c)) for c in g.of("C") if acyl(g, c)),
    "ketone group": lambda g: sum(
        oxo(g, c) == 1 and len(g.near(c, "C")) == 2 and not c.GetIsAromatic() for c in g.of("C")
    ),
    "nitro group": nitro_groups,
    "cyano group": lambda g: sum(
        terminal(g, n) and any(g.near(c, "C", 1) or g.near(c, "N", 1) for c in g.near(n, "C", 3)) for n in g.of("N")
    ),
    "fluoro substituent": on_carbon("F"),
    "chloro substituent": on_carbon("Cl"),
    "bromo substituent": on_carbon("Br"),
    "iodo substituent": on_carbon("I"),
    "trifluoromethyl group": lambda g: sum(len(g.near(c, "F")) == 3 and len(g.near(c, "C")) == 1 for c in g.of("C")),
    "C=C double bond": double_carbons,
}
COUNTERS |= {phrase: COUNTERS[base] for phrase, base in SYNONYMS.items()}


def labels(m: Graph) -> Counter[str]:
    """R and S by the newer labelling, provided the older one agrees."""
    old = dict(Chem.FindMolChiralCenters(Chem.Mol(m.mol), useLegacyImplementation=True))
    mol = Chem.Mol(m.mol)
    rdCIPLabeler.AssignCIPLabels(mol)
    new = {a.GetIdx(): a.GetProp("_CIPCode") for a in mol.GetAtoms() if a.HasProp("_CIPCode")}
    return Counter(old.values()) if old == {i: code for i, code in new.items() if code in "RS"} else Counter()


def open_centres(m: Graph) -> int:
    if "@" in Chem.MolToSmiles(m.mol):
        return -1
    return len(Chem.FindMolChiralCenters(Chem.Mol(m.mol), includeUnassigned=True, useLegacyImplementation=False))


def counted(text: str, atoms: dict) -> Counter:
    """'one nitrogen-15 and two deuterium atoms' as a count of each."""
    return Counter({atoms[name]: VALUES[count] for count, name in re.findall(rf"({COUNT}) (\S+) atoms?", text)})


def hetero_atoms(m: Graph, text: str) -> bool:
    return counted(text, SYMBOLS) == Counter(a.GetSymbol() for a in m.atoms if a.GetSymbol() != "C")


def centres(m: Graph, total: str, r: str, s: str) -> bool:
    return labels(m) == Counter(R=VALUES[r], S=VALUES[s]) and VALUES[total] == VALUES[r] + VALUES[s]


def carbons(m: Graph, n: str, where: str) -> bool:
    return len(m.of("C")) == VALUES[n] and (where == "in its organic part") == m.has_partners


N = rf"({NUMBER})"
SENTENCES: dict[str, Callable[..., bool]] = {
    r"(?:The stereocentre has|The chiral centre is) ([RS])(?: configuration)?": lambda m, c: labels(m) == Counter([c]),
    r"Its one defined stereocentre is ([RS])-configured": lambda m, c: labels(m) == Counter([c]),
    r"Both defined stereocentres have ([RS]) configuration": lambda m, c: labels(m) == Counter({c: 2}),
    rf"All {N} defined stereocentres have ([RS]) configuration": lambda m, n, c: labels(m) == Counter({c: VALUES[n]}),
    rf"Of its {N} defined stereocentres, {N} (?:is|are) R and {N} (?:is|are) S": centres,
    rf"The configuration of {N} stereocentres? is not specified": lambda m, n: open_centres(m) == VALUES[n],
    rf"(?:It has|No configuration is given for) {N} stereocentres?(?: of unspecified configuration)?": (
        lambda m, n: open_centres(m) == VALUES[n]
    ),
    rf"(?:There are|It counts|Carbon atoms number) {N}(?: carbon atoms)? (in all|in its organic part)": carbons,
    r"(?:Besides carbon and hydrogen it is built from|Its hetero atoms:|The hetero atoms are) (.+)": hetero_atoms,
    r"Among the elements other than carbon and hydrogen one counts (.+)": hetero_atoms,
}
PLURAL = r"(group|bond|substituent|atom)"
_NOUNS = "|".join(re.sub(rf"{PLURAL}(?= |$)", r"\1s?", noun) for noun in sorted(COUNTERS, key=len, reverse=True))
_CLAIM = re.compile(rf"\b({COUNT}) ({_NOUNS})(?=[,.;]| and | with )")


def claims_of(smiles: str, description: str) -> Iterator[tuple[str, bool]]:
    """Every counted group and every sentence of numbers in a description, and whether it is true."""
    m = Graph(smiles)
    for count, noun in _CLAIM.findall(description):
        yield f"{count} {noun}", COUNTERS[re.sub(rf"{PLURAL}s\b", r"\1", noun)](m) == VALUES[count]
    for sentence in re.split(r"(?<=\.) (?=[A-Z])", description):
        for pattern, holds in SENTENCES.items():
            if match := re.fullmatch(pattern + r"\.", sentence):
                yield sentence, holds(m, *match.groups())
