"""Functional groups counted by walking bonds: the corpus test's own reading, with no pattern language in it.

`data/corpus_tables.py` finds groups with SMARTS. Here each phrase of a description has a plain function on atoms, so
that a wrong pattern cannot confirm itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tests.corpus_graph import (
    Atom,
    Graph,
    acyl,
    bridging,
    esters,
    hydrogens,
    hydroxyls,
    methyl,
    oxides,
    oxo,
    plain_carbon,
    saturated,
    terminal,
)
from tests.corpus_vocabulary import SYNONYMS


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


def phosphoryl(g: Graph, double: str, singles: str) -> int:
    """P=X with three single partners, given as sorted symbols."""
    return sum(
        oxo(g, p, double) == 1
        and "".join(sorted(a.GetSymbol() for a in g.near(p, "", 1))) == singles
        and len(g.near(p)) == 4
        for p in g.of("P")
    )


def triple(g: Graph, a: str, b: str) -> int:
    return sum(
        bond.GetBondTypeAsDouble() == 3 and {bond.GetBeginAtom().GetSymbol(), bond.GetEndAtom().GetSymbol()} == {a, b}
        for bond in g.mol.GetBonds()
    )


def double_carbons(g: Graph) -> list[tuple[Atom, Atom]]:
    return [
        (b.GetBeginAtom(), b.GetEndAtom())
        for b in g.mol.GetBonds()
        if b.GetBondTypeAsDouble() == 2 and b.GetBeginAtom().GetSymbol() == b.GetEndAtom().GetSymbol() == "C"
    ]


def pairs(g: Graph, symbol: str, order: float, *, ring: bool = True) -> int:
    """Bonds between two divalent atoms of one element, each of which also holds a carbon."""
    return sum(
        b.GetBondTypeAsDouble() == order
        and b.GetBeginAtom().GetSymbol() == b.GetEndAtom().GetSymbol() == symbol
        and (ring or not (b.GetBeginAtom().IsInRing() or b.GetEndAtom().IsInRing()))
        and all(len(g.near(a)) == 2 and bool(g.near(a, "C")) for a in (b.GetBeginAtom(), b.GetEndAtom()))
        for b in g.mol.GetBonds()
    )


def imino(g: Graph, test: Callable[[Graph, Atom, Atom], bool]) -> int:
    """C=N double bonds whose (carbon, nitrogen) satisfy a test."""
    return sum(test(g, c, n) for c in g.of("C") for n in g.near(c, "N", 2))


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
    atom = g.mol.GetAtomWithIdx
    return sum(sorted(hydrogens(atom(i)) for i in s) == [0, 1, 1, 1, 1, 1] for s in g.benzenes)


def nitro_groups(g: Graph, partners: str) -> int:
    return sum(
        oxo(g, n) == 1
        and len(oxides(g, n)) == 1
        and any(x.GetSymbol() in partners for x in g.near(n, "", 1) if not terminal(g, x) or x.GetSymbol() != "O")
        for n in g.of("N", 1)
        if len(g.near(n)) == 3
    )


def nitrate_esters(g: Graph) -> int:
    return sum(
        oxo(g, n) == 1 and len(oxides(g, n)) == 1 and any(g.near(o, "C") for o in g.near(n, "O", 1))
        for n in g.of("N", 1)
    )


def cations(g: Graph, symbol: str, partners: int) -> int:
    return sum(
        len(g.near(x, "C")) == len(g.near(x)) == partners and not hydrogens(x) and not x.GetIsAromatic()
        for x in g.of(symbol, 1)
    )


def thioxo(g: Graph) -> int:
    return sum(terminal(g, s) and bool(g.near(s, "C", 2)) and not g.near(g.near(s)[0], "N", 2) for s in g.of("S"))


def neutral_x3(n: Atom, g: Graph) -> bool:
    return n.GetFormalCharge() == 0 and not n.GetIsAromatic() and len(g.near(n)) + hydrogens(n) == 3


def carbonic(g: Graph, n_nitrogen: int, n_oxygen: int) -> int:
    """C=O between so many trivalent nitrogens and carbon-bearing oxygens: carbonate, carbamate, urea."""
    return sum(
        oxo(g, c) == 1
        and not c.GetIsAromatic()
        and sum(neutral_x3(n, g) for n in g.near(c, "N", 1)) == n_nitrogen
        and sum(
            len(bridging(g, o)) == 2 and all(x.GetSymbol() == "C" for x in bridging(g, o)) for o in g.near(c, "O", 1)
        )
        == n_oxygen
        for c in g.of("C")
    )


def amidine_like(g: Graph, carbons: int, nitrogens: int) -> int:
    return imino(
        g,
        lambda g, c, n: (
            len(g.near(c, "C")) == carbons
            and sum(len(g.near(x)) + hydrogens(x) == 3 and not x.GetIsAromatic() for x in g.near(c, "N", 1))
            == nitrogens
            and len(g.near(n)) + hydrogens(n) == 2
        ),
    )


def is_open_imine(g: Graph, c: Atom, n: Atom) -> bool:
    hetero = [x for x in g.near(c, "", 1) if x.GetSymbol() in "NOS"]
    return (
        not c.IsInRing()
        and not n.IsInRing()
        and bool(g.near(c, "C"))
        and not hetero
        and bool(g.near(n, "C", 1))
        and n.GetFormalCharge() == 0
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
    "imide group": lambda g: sum(
        neutral_x3(n, g) and sum(oxo(g, c) == 1 and bool(g.near(c, "C")) for c in g.near(n, "C", 1)) >= 2
        for n in g.of("N")
    ),
    "urea group": lambda g: carbonic(g, 2, 0),
    "carbamate group": lambda g: carbonic(g, 1, 1),
    "carbonate group": lambda g: carbonic(g, 0, 2),
    "acyl chloride group": lambda g: sum(len(g.near(c, "Cl")) for c in g.of("C") if oxo(g, c) and g.near(c, "C")),
    "anhydride group": lambda g: sum(
        sum(oxo(g, c) == 1 and bool(g.near(c, "C")) for c in bridging(g, o) if c.GetSymbol() == "C") == 2
        for o in g.of("O")
    ),
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
    "phenolate group": lambda g: sum(len(oxides(g, c)) for c in g.of("C") if c.GetIdx() in g.six_carbon_aromatic),
    "ether linkage outside rings": lambda g: sum(
        len(bridging(g, o)) == 2 and not o.IsInRing() and all(plain_carbon(g, c) for c in bridging(g, o))
        for o in g.of("O")
    ),
    "methoxy group": lambda g: alkoxy(g, ethyl=False),
    "ethoxy group": lambda g: alkoxy(g, ethyl=True),
    "peroxide linkage": lambda g: pairs(g, "O", 1),
    "primary amino group": lambda g: amines(g, 2, aromatic=False),
    "aromatic amino group": lambda g: amines(g, 2, aromatic=True),
    "secondary amino group": lambda g: amines(g, 1),
    "tertiary amino group": lambda g: amines(g, 0),
    "dimethylamino group": lambda g: dialkylamino(g, ethyl=False),
    "diethylamino group": lambda g: dialkylamino(g, ethyl=True),
    "protonated amino group": lambda g: sum(
        hydrogens(n) > 0 and len(g.near(n)) + hydrogens(n) == 4 and bool(g.near(n, "C")) for n in g.of("N", 1)
    ),
    "quaternary ammonium centre": lambda g: cations(g, "N", 4),
    "phosphonium centre": lambda g: cations(g, "P", 4),
    "sulfonium centre": lambda g: cations(g, "S", 3),
    "quaternised ring nitrogen atom": lambda g: sum(
        n.GetIsAromatic() and any(saturated(g, c) for c in g.near(n)) for n in g.of("N", 1)
    ),
    "aromatic N-oxide group": lambda g: sum(n.GetIsAromatic() and len(oxides(g, n)) == 1 for n in g.of("N", 1)),
    "nitro group": lambda g: nitro_groups(g, "CN"),
    "nitrate ester group": nitrate_esters,
    "nitroso group": lambda g: sum(
        oxo(g, n) == 1 and len(g.near(n)) == 2 and bool(g.near(n, "C") or g.near(n, "N")) for n in g.of("N", 0)
    ),
    "cyano group": lambda g: sum(
        terminal(g, n) and any(g.near(c, "C", 1) or g.near(c, "N", 1) for c in g.near(n, "C", 3)) for n in g.of("N")
    ),
    "isocyanate group": lambda g: imino(g, lambda g, c, n: oxo(g, c) == 1 and bool(g.near(n, "C", 1))),
    "isothiocyanate group": lambda g: imino(g, lambda g, c, n: oxo(g, c, "S") == 1 and bool(g.near(n, "C", 1))),
    "azido group": lambda g: sum(
        len(g.near(n, "N", 2)) == 2 and any(g.near(x, "C") for x in g.near(n)) for n in g.of("N", 1)
    ),
    "azo linkage": lambda g: pairs(g, "N", 2, ring=False),
    "acyclic N-N single bond": lambda g: sum(
        b.GetBondTypeAsDouble() == 1
        and all(
            a.GetSymbol() == "N" and neutral_x3(a, g) and not a.IsInRing() for a in (b.GetBeginAtom(), b.GetEndAtom())
        )
        for b in g.mol.GetBonds()
    ),
    "hydrazone unit": lambda g: imino(
        g,
        lambda g, c, n: (
            bool(g.near(c, "C"))
            and any(len(g.near(x)) + hydrogens(x) == 3 and not x.GetIsAromatic() for x in g.near(n, "N", 1))
            and len(g.near(c)) + hydrogens(c) == 3
        ),
    ),
    "oxime group": lambda g: imino(g, lambda g, c, n: bool(hydroxyls(g, n))),
    "guanidine unit": lambda g: amidine_like(g, 0, 2),
    "amidine unit": lambda g: amidine_like(g, 1, 1),
    "open-chain imine unit": lambda g: imino(g, is_open_imine),
    "sulfanyl group": lambda g: sum(hydrogens(s) == 1 and bool(g.near(s, "C")) for s in g.of("S", 0)),
    "thioether linkage": lambda g: sum(
        len(bridging(g, s)) == 2
        and not s.IsInRing()
        and all(c.GetSymbol() == "C" and (c.GetIsAromatic() or saturated(g, c)) for c in bridging(g, s))
        for s in g.of("S")
    ),
    "disulfide linkage": lambda g: pairs(g, "S", 1),
    "sulfoxide group": lambda g: sum(
        oxo(g, s) == 1 and len(g.near(s, "C")) == 2 and len(g.near(s)) == 3 for s in g.of("S")
    ),
    "sulfone group": lambda g: sulfonyl(g, needs=lambda g, s: len(g.near(s, "C")) == 2),
    "sulfonic acid group": lambda g: sulfonyl(g, needs=lambda g, s: len(hydroxyls(g, s)) == 1),
    "sulfonate group": lambda g: sulfonyl(g, needs=lambda g, s: len(oxides(g, s)) == 1),
    "sulfonic ester group": lambda g: sulfonyl(
        g, needs=lambda g, s: any(len(bridging(g, o)) == 2 and g.near(o, "C") for o in g.near(s, "O", 1))
    ),
    "sulfonamide group": lambda g: sulfonyl(
        g,
        needs=lambda g, s: any(len(g.near(n)) + hydrogens(n) == 3 and not n.GetIsAromatic() for n in g.near(s, "N", 1)),
    ),
    "sulfonyl chloride group": lambda g: sulfonyl(g, needs=lambda g, s: bool(g.near(s, "Cl"))),
    "thiocarbonyl group": thioxo,
    "phosphate group": lambda g: phosphoryl(g, "O", "OOO"),
    "phosphonate group": lambda g: phosphoryl(g, "O", "COO"),
    "phosphorothioate group": lambda g: phosphoryl(g, "S", "OOO") + phosphoryl(g, "O", "OOS"),
    "phosphorodithioate group": lambda g: phosphoryl(g, "S", "OOS"),
    "phosphine centre": lambda g: sum(
        len(g.near(p, "C")) == 3 and len(g.near(p)) + hydrogens(p) == 3 for p in g.of("P")
    ),
    "boronic acid group": lambda g: sum(len(hydroxyls(g, b)) == 2 and len(g.near(b, "C")) == 1 for b in g.of("B")),
    "trimethylsilyl group": lambda g: sum(
        len(g.near(s)) == 4 and sum(methyl(g, c) for c in g.near(s)) >= 3 for s in g.of("Si")
    ),
    "fluoro substituent": on_carbon("F"),
    "chloro substituent": on_carbon("Cl"),
    "bromo substituent": on_carbon("Br"),
    "iodo substituent": on_carbon("I"),
    "trifluoromethyl group": lambda g: sum(len(g.near(c, "F")) == 3 and len(g.near(c, "C")) == 1 for c in g.of("C")),
    "C=C double bond": lambda g: len(double_carbons(g)),
    "terminal vinyl group": lambda g: sum(sorted((hydrogens(a), hydrogens(b))) == [1, 2] for a, b in double_carbons(g)),
    "C≡C triple bond": lambda g: triple(g, "C", "C"),
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
