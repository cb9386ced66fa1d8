"""The bundled corpus: the same bytes from the script, counted claims true by other code, splits apart."""

import csv
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from rdkit import Chem
from rdkit.Chem import rdCIPLabeler

from tests.faulty_places import python

ROOT = Path(__file__).parents[1]
SHA256 = "7ef951cd3cce760544e8c1c94357366d62a64b3f24d70db97e6314b191cec110"


@pytest.fixture(scope="module")
def rows() -> list[dict[str, str]]:
    with open(ROOT / "data" / "corpus.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_file_is_the_one_that_was_published() -> None:
    assert hashlib.sha256((ROOT / "data" / "corpus.csv").read_bytes()).hexdigest() == SHA256


@pytest.mark.skipif("CLASS_KIT_SLOW" not in os.environ, reason="takes two minutes; CLASS_KIT_SLOW=1 asks for it")
def test_the_script_writes_the_same_bytes(tmp_path: Path) -> None:
    output = tmp_path / "again.csv"
    assert python(ROOT / "data" / "build_corpus.py", output).returncode == 0
    assert output.read_bytes() == (ROOT / "data" / "corpus.csv").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.csv"]


SAMPLE = """
import csv, sys
from rdkit import RDLogger
import build_corpus

RDLogger.DisableLog("rdApp.*")
with open("corpus.csv", encoding="utf-8", newline="") as file:
    rows = [build_corpus.Row(*row) for row in csv.reader(file)][1:]
names = {}
for path in build_corpus.source_files():
    for line in path.read_text(encoding="utf-8").splitlines():
        cid, _, _, _, smiles, _, _, *more = line.split("\\t")
        names.setdefault(cid, tuple(more))
entries = [build_corpus.Entry(row.id, row.smiles, names[row.id]) for row in rows]
for entry, row in list(zip(entries, rows))[::30]:
    assert build_corpus.description_of(entry, build_corpus.family(row.smiles)) == (row.label, row.description), row
split = build_corpus.with_splits([(entry, row.label, row.description) for entry, row in zip(entries, rows)])
# the split is drawn over structures in an order of its own, so it does not depend on that of the rows
assert split == rows
"""


def test_the_script_describes_and_splits_molecules_as_published() -> None:
    done = python("-c", SAMPLE, cwd=ROOT / "data")
    assert done.returncode == 0, done.stderr


def test_counted_groups_and_numbers_are_true(rows: list[dict[str, str]]) -> None:
    claims = [claim for row in rows[::2] for claim in claims_of(row["smiles"], row["description"])]
    assert [claim for claim, true in claims if not true] == []
    assert len(claims) > 2_000


def test_descriptions_of_other_molecules_are_mostly_refused(rows: list[dict[str, str]]) -> None:
    """The counters look at the structure: most descriptions are untrue of the next molecule in the file."""
    some = list(pairwise(rows))[::5]
    untrue = [any(not true for _, true in claims_of(row["smiles"], other["description"])) for row, other in some]
    assert sum(untrue) > 0.6 * len(some)


def test_the_table_beside_the_corpus_says_what_the_default_run_measured() -> None:
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    metrics = json.loads((ROOT / "figures" / "default" / "metrics.json").read_text(encoding="utf-8"))
    for row in metrics["02_difficulty"]["counts"]:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row['sigma']:.2f} |")]
        assert f"| {row['zero']:.1%} |".replace("%", " %") in line


# --- claims of the corpus counted in another way: by walking bonds, with no pattern language in it
#
# `data/corpus_tables.py` finds groups with SMARTS. Here each phrase of a description has a plain function on atoms, so
# that a wrong pattern cannot confirm itself. `claims_of` finds the most usual counted groups and sentences with numbers
# in a description and says whether each is true.


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
