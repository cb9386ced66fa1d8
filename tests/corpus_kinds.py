"""The kinds of compound that open a description, each as a test on the graph; see corpus_groups for why."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import permutations, product

from rdkit import Chem

from tests.corpus_graph import Atom, Graph, acyl, esters, hydrogens, hydroxyls, oxides, oxo, plain_carbon, saturated
from tests.corpus_groups import COUNTERS, alcohols, double_carbons, open_amides

MULTIPLES = {"di": 2, "tri": 3, "tetra": 4, "penta": 5, "hexa": 6}
HALOGENS = {"fluorine": "F", "chlorine": "Cl", "bromine": "Br", "iodine": "I"}
ORGANO = {
    "silicon": "Si",
    "boron": "B",
    "tin": "Sn",
    "selenium": "Se",
    "germanium": "Ge",
    "arsenic": "As",
    "mercury": "Hg",
    "lead": "Pb",
    "tellurium": "Te",
    "antimony": "Sb",
    "bismuth": "Bi",
}
# The alcohol side of an ester: formula of the alkyl group, hydrogens on its first carbon, and whether it is aromatic.
ALKYLS = {
    "methyl": "C",
    "ethyl": "CC",
    "propyl": "CCC",
    "isopropyl": "C(C)C",
    "butyl": "CCCC",
    "isobutyl": "CC(C)C",
    "tert-butyl": "C(C)(C)C",
    "pentyl": "CCCCC",
    "hexyl": "CCCCCC",
    "allyl": "CC=C",
    "vinyl": "C=C",
    "benzyl": "Cc1ccccc1",
    "phenyl": "c1ccccc1",
}
ACID = r"(?:an (aromatic|alpha,beta-unsaturated|aliphatic) |a )carboxylic acid"

Check = Callable[[Graph], bool]


def n(phrase: str) -> Callable[[Graph], int]:
    return COUNTERS[phrase]


def has(phrase: str) -> Check:
    return lambda g: COUNTERS[phrase](g) > 0


def symbols(g: Graph) -> set[str]:
    return {a.GetSymbol() for a in g.atoms}


def any_aromatic(g: Graph) -> bool:
    return any(a.GetIsAromatic() for a in g.atoms)


def carboxyls(g: Graph) -> list[Atom]:
    return [c for c in g.of("C") if acyl(g, c) and (hydroxyls(g, c) or oxides(g, c))]


def next_to_double(g: Graph, carbon: Atom) -> bool:
    ends = {a.GetIdx() for pair in double_carbons(g) for a in pair}
    return any(x.GetIdx() in ends and not x.GetIsAromatic() for x in g.near(carbon, "C"))


def acid_like(g: Graph, carbon: Atom, adjective: str | None) -> bool:
    """Does the acid behind this acyl carbon deserve the adjective?"""
    on_ring = any(x.GetIsAromatic() for x in g.near(carbon, "C"))
    if adjective == "aromatic":
        return on_ring
    if adjective == "alpha,beta-unsaturated":
        return not on_ring and next_to_double(g, carbon)
    if adjective == "aliphatic":
        return not any_aromatic(g)
    return True


def group_smiles(g: Graph, first: Atom, without: Atom) -> str:
    """The group that hangs on `first` once the bond to `without` is cut, as canonical SMILES."""
    kept, frontier = {first.GetIdx()}, [first]
    while frontier:
        for x in g.near(frontier.pop()):
            if x.GetIdx() not in kept and x.GetIdx() != without.GetIdx():
                kept.add(x.GetIdx())
                frontier.append(x)
    if without.GetIdx() in kept:
        return ""
    return Chem.MolFragmentToSmiles(g.mol, sorted(kept), rootedAtAtom=first.GetIdx(), isomericSmiles=False)


def rooted(smiles: str) -> str:
    return Chem.MolToSmiles(Chem.MolFromSmiles(smiles), rootedAtAtom=0)


def is_alkyl(g: Graph, first: Atom, oxygen: Atom, name: str) -> bool:
    return group_smiles(g, first, oxygen) == rooted(ALKYLS[name])


def origin(g: Graph, carbon: Atom, name: str) -> bool:
    if name == "phenol":
        return carbon.GetIdx() in g.six_carbon_aromatic
    want = {"primary alcohol": 2, "secondary alcohol": 1, "tertiary alcohol": 0}[name]
    return saturated(g, carbon) and hydrogens(carbon) == want and len(g.near(carbon, "C")) == 3 - want


def amine_side(g: Graph, carbon: Atom, nitrogen: Atom, name: str) -> bool:
    rest = [x for x in g.near(nitrogen) if x.GetIdx() != carbon.GetIdx()]
    if name == "a secondary amine":
        return len(rest) == 2
    return len(rest) == 1 and rest[0].GetIsAromatic() == (name == "an aromatic amine")


def all_amides(g: Graph) -> list[tuple[Atom, Atom]]:
    return [pair for hs in (0, 1, 2) for pair in open_amides(g, hs)]


def alpha_amino_acid(g: Graph) -> bool:
    def amino(x: Atom) -> bool:
        free = x.GetFormalCharge() == 0 and hydrogens(x) in (1, 2) and len(g.near(x)) + hydrogens(x) == 3
        return x.GetSymbol() == "N" and (free or (x.GetFormalCharge() == 1 and hydrogens(x) > 0))

    return len(carboxyls(g)) == 1 and any(
        saturated(g, a) and any(amino(x) for x in g.near(a, "N")) for a in g.near(carboxyls(g)[0], "C")
    )


def fatty_acid(g: Graph, saturated_chain: bool) -> bool:
    carbons = g.of("C")
    linear = sorted(len(g.near(c, "C")) for c in carbons) == [1, 1] + [2] * (len(carbons) - 2)
    multiple = any(
        b.GetBondTypeAsDouble() > 1
        for b in g.mol.GetBonds()
        if {"C"} == {x.GetSymbol() for x in (b.GetBeginAtom(), b.GetEndAtom())}
    )
    return (
        symbols(g) == {"C", "O"}
        and len(g.of("O")) == 2
        and len(carboxyls(g)) == 1
        and linear
        and not g.systems()
        and len(carbons) >= 8
        and multiple != saturated_chain
    )


def total(g: Graph, *phrases: str) -> int:
    return sum(COUNTERS[p](g) for p in phrases)


def amides_count(g: Graph) -> int:
    return len(all_amides(g))


def amines_count(g: Graph) -> int:
    return total(g, "primary amino group", "aromatic amino group", "secondary amino group", "tertiary amino group")


def alcohols_count(g: Graph) -> int:
    return sum(alcohols(g, k) for k in (1, 2, 3))


def any_hydroxy(g: Graph) -> int:
    return sum(len(hydroxyls(g, c)) for c in g.of("C") if not (oxo(g, c) or oxo(g, c, "S")))


def phenols_count(g: Graph) -> int:
    return total(g, "phenolic hydroxy group", "phenolate group")


def ring_atom(g: Graph, symbol: str) -> bool:
    return any(a.IsInRing() for a in g.of(symbol))


def bonded_to_carbon(g: Graph, symbol: str) -> bool:
    return any(g.near(a, "C") for a in g.of(symbol))


def ketones(g: Graph) -> list[Atom]:
    return [c for c in g.of("C") if oxo(g, c) == 1 and len(g.near(c, "C")) == 2 and not c.GetIsAromatic()]


def aryl_ethers(g: Graph) -> bool:
    return any(
        not o.IsInRing()
        and len(g.near(o)) == 2
        and all(plain_carbon(g, c) for c in g.near(o))
        and any(c.GetIsAromatic() for c in g.near(o))
        for o in g.of("O")
    )


def is_hydrocarbon(g: Graph, double: int | None = None, cyclic: bool | None = None) -> bool:
    ok = symbols(g) == {"C"} and (cyclic is None or cyclic == bool(g.systems()))
    return ok and (double is None or (len(double_carbons(g)) == double and not any_aromatic(g)))


KINDS: dict[str, Check] = {
    "alpha-amino acid": alpha_amino_acid,
    "saturated straight-chain fatty acid": lambda g: fatty_acid(g, True),
    "unsaturated straight-chain fatty acid": lambda g: fatty_acid(g, False),
    "polycarboxylic acid": lambda g: len(carboxyls(g)) > 4,
    "lactone": has("lactone group"),
    "polyester": lambda g: n("ester group")(g) > 4,
    "acetate ester": has("ester group"),
    "formate ester": lambda g: any(hydrogens(c) == 1 for c, _, _ in esters(g, ring=False)),
    "polyamide": lambda g: amides_count(g) > 4,
    "imide": has("imide group"),
    "urea derivative": has("urea group"),
    "carbamate ester": has("carbamate group"),
    "lactam": has("lactam group"),
    "phosphorodithioate derivative": has("phosphorodithioate group"),
    "phosphorothioate derivative": has("phosphorothioate group"),
    "phosphate derivative": has("phosphate group"),
    "phosphonic acid derivative": has("phosphonate group"),
    "phosphonium ion": has("phosphonium centre"),
    "phosphine": has("phosphine centre"),
    "phosphorus compound": lambda g: "P" in symbols(g),
    "sulfonium ion": has("sulfonium centre"),
    "sulfonic acid": lambda g: total(g, "sulfonic acid group", "sulfonate group") > 0,
    "sulfonamide": has("sulfonamide group"),
    "sulfonyl chloride": has("sulfonyl chloride group"),
    "sulfonic ester": has("sulfonic ester group"),
    "sulfone": has("sulfone group"),
    "sulfoxide": has("sulfoxide group"),
    "disulfide": has("disulfide linkage"),
    "aromatic thiol": lambda g: any(hydrogens(s) and any(c.GetIsAromatic() for c in g.near(s)) for s in g.of("S", 0)),
    "thiol": has("sulfanyl group"),
    "thioether": has("thioether linkage"),
    "thiocarbonyl compound": has("thiocarbonyl group"),
    "isothiocyanate": has("isothiocyanate group"),
    "organosulfur compound": lambda g: bonded_to_carbon(g, "S"),
    "sulfur compound": lambda g: "S" in symbols(g),
    "acyl chloride": has("acyl chloride group"),
    "carboxylic anhydride": has("anhydride group"),
    "aromatic aldehyde": lambda g: any(
        oxo(g, c) and hydrogens(c) == 1 and any(x.GetIsAromatic() for x in g.near(c, "C")) for c in g.of("C")
    ),
    "aldehyde": has("aldehyde group"),
    "ketone": lambda g: len(ketones(g)) == 1,
    "cyclic ketone": lambda g: any(c.IsInRing() for c in ketones(g)),
    "aryl ketone": lambda g: any(x.GetIsAromatic() for c in ketones(g) for x in g.near(c, "C")),
    "polyketone": lambda g: len(ketones(g)) > 6,
    "phenol": lambda g: phenols_count(g) == 1,
    "dihydric phenol": lambda g: phenols_count(g) == 2,
    "trihydric phenol": lambda g: phenols_count(g) == 3,
    "polyhydric phenol": lambda g: phenols_count(g) > 3,
    "member of the phenols": lambda g: n("phenolic hydroxy group")(g) > 0,
    "primary alcohol": lambda g: alcohols(g, 1) > 0,
    "secondary alcohol": lambda g: alcohols(g, 2) > 0,
    "tertiary alcohol": lambda g: alcohols(g, 3) > 0,
    "diol": lambda g: alcohols_count(g) == any_hydroxy(g) == 2,
    "triol": lambda g: alcohols_count(g) == any_hydroxy(g) == 3,
    "tetrol": lambda g: alcohols_count(g) == any_hydroxy(g) == 4,
    "polyol": lambda g: alcohols_count(g) == any_hydroxy(g) > 4,
    "polyhydroxy compound": lambda g: any_hydroxy(g) > 2,
    "quaternary ammonium ion": has("quaternary ammonium centre"),
    "quaternary ammonium compound": has("quaternary ammonium centre"),
    "protonated amine": has("protonated amino group"),
    "quaternised nitrogen heterocycle": has("quaternised ring nitrogen atom"),
    "primary amine": has("primary amino group"),
    "primary aromatic amine": has("aromatic amino group"),
    "secondary amine": has("secondary amino group"),
    "tertiary amine": has("tertiary amino group"),
    "diamine": lambda g: amines_count(g) == 2,
    "triamine": lambda g: amines_count(g) == 3,
    "polyamine": lambda g: amines_count(g) > 3,
    "nitroarene": lambda g: any(
        oxo(g, x) == 1 and len(oxides(g, x)) == 1 and any(c.GetIsAromatic() for c in g.near(x, "C"))
        for x in g.of("N", 1)
    ),
    "nitro compound": has("nitro group"),
    "nitrate ester": has("nitrate ester group"),
    "nitrile": lambda g: any(g.near(c, "C") for x in g.of("N") for c in g.near(x, "C", 3)),
    "isocyanate": has("isocyanate group"),
    "azo compound": has("azo linkage"),
    "oxime": has("oxime group"),
    "nitrogen heterocycle": lambda g: ring_atom(g, "N"),
    "organonitrogen compound": lambda g: bonded_to_carbon(g, "N"),
    "nitrogen compound": lambda g: "N" in symbols(g),
    "aromatic ether": aryl_ethers,
    "aliphatic ether": lambda g: n("ether linkage outside rings")(g) > 0 and not any_aromatic(g),
    "ether": has("ether linkage outside rings"),
    "oxygen heterocycle": lambda g: ring_atom(g, "O"),
    "organohalogen compound": lambda g: sum(bonded_to_carbon(g, x) for x in HALOGENS.values()) > 1,
    "aromatic hydrocarbon": lambda g: is_hydrocarbon(g) and any_aromatic(g),
    "alkyne": lambda g: is_hydrocarbon(g) and n("C≡C triple bond")(g) > 0,
    "acetylenic compound": has("C≡C triple bond"),
    "olefinic compound": has("C=C double bond"),
    "acyclic polyene": lambda g: is_hydrocarbon(g, cyclic=False) and len(double_carbons(g)) > 3,
    "cyclic polyene": lambda g: is_hydrocarbon(g, cyclic=True) and len(double_carbons(g)) > 3,
}
for _cyclic in (True, False):
    for _count, _word in enumerate(("alkane", "alkene", "diene", "triene")):
        KINDS[f"{'cyclic' if _cyclic else 'acyclic'} {_word}"] = lambda g, count=_count, cyclic=_cyclic: is_hydrocarbon(
            g, count, cyclic
        )


def steroid(g: Graph) -> bool:
    """Three six-membered rings and a five-membered one, all of carbon, fused as in cyclopenta[a]phenanthrene.

    Rings B and C are each fused at an angle, and the two angles point to opposite sides: the bond that B and C share
    then has one end next to ring A and the other end next to ring D. C-13, shared by C and D, is saturated.
    """
    rings = [set(r) for r in Chem.GetSymmSSSR(g.mol) if all(g.mol.GetAtomWithIdx(i).GetSymbol() == "C" for i in r)]
    fused = {(i, j) for i, j in permutations(range(len(rings)), 2) if len(rings[i] & rings[j]) == 2}

    def next_to(bond: set[int], other: set[int]) -> set[int]:
        return {i for i in bond for j in other if g.mol.GetBondBetweenAtoms(i, j)}

    for (a, b), (c, d) in product(fused, fused):
        shapes = [len(rings[k]) for k in (a, b, c, d)] == [6, 6, 6, 5] and len({a, b, c, d}) == 4
        if shapes and (b, c) in fused and not {(a, c), (b, d), (a, d)} & fused:
            shared = rings[b] & rings[c]
            near_a = next_to(shared, rings[a] & rings[b])
            near_d = next_to(shared, rings[c] & rings[d])
            away = (rings[c] & rings[d]) - next_to(rings[c] & rings[d], shared)
            if len(near_a) == len(near_d) == 1 and near_a != near_d:
                return all(saturated(g, g.mol.GetAtomWithIdx(i)) for i in away)
    return False


KINDS["steroid"] = steroid


def kind_holds(g: Graph, phrase: str) -> bool:
    """Is the noun phrase true? Raises KeyError for one that is not known here."""
    if phrase in KINDS:
        return KINDS[phrase](g)
    if m := re.fullmatch(r"(?:(aromatic|aliphatic|alpha,beta-unsaturated) )?(di|tri|tetra)?carboxylic acid", phrase):
        acids = carboxyls(g)
        return len(acids) == MULTIPLES.get(m[2], 1) and all(acid_like(g, c, m[1]) for c in acids)
    if m := re.fullmatch(r"(di|tri|tetra)ester(?: with (\S+) ester groups only)?", phrase):
        found = esters(g, ring=False)
        return len(found) == MULTIPLES[m[1]] and (not m[2] or all(is_alkyl(g, out, o, m[2]) for _, o, out in found))
    if m := re.fullmatch(rf"(\S+) ester of {ACID}", phrase):
        ((carbon, oxygen, out),) = esters(g, ring=False)
        return acid_like(g, carbon, m[2]) and is_alkyl(g, out, oxygen, m[1])
    if m := re.fullmatch(rf"ester of {ACID}(?: with a (.+))?", phrase):
        ((carbon, _, out),) = esters(g, ring=False)
        return acid_like(g, carbon, m[1]) and (not m[2] or origin(g, out, m[2]))
    if m := re.fullmatch(r"(acetate|formate) ester of a (.+)", phrase):
        ((carbon, _, out),) = esters(g, ring=False)
        return short_acid(g, carbon, m[1]) and origin(g, out, m[2])
    if m := re.fullmatch(rf"(primary|secondary|tertiary) amide of {ACID}(?: with (an? .+))?", phrase):
        ((carbon, nitrogen),) = all_amides(g)
        right = hydrogens(nitrogen) == {"primary": 2, "secondary": 1, "tertiary": 0}[m[1]]
        return right and acid_like(g, carbon, m[2]) and (not m[3] or amine_side(g, carbon, nitrogen, m[3]))
    if m := re.fullmatch(r"N-(acetyl|formyl) derivative of (.+)", phrase):
        ((carbon, nitrogen),) = all_amides(g)
        short = {"acetyl": "acetate", "formyl": "formate"}[m[1]]
        return short_acid(g, carbon, short) and amine_side(g, carbon, nitrogen, m[2])
    if m := re.fullmatch(r"(di|tri|tetra)amide", phrase):
        return amides_count(g) == MULTIPLES[m[1]]
    if m := re.fullmatch(r"(cyclic )?(di|tri|tetra|penta|hexa)ketone", phrase):
        return len(ketones(g)) == MULTIPLES[m[2]] and (not m[1] or all(c.IsInRing() for c in ketones(g)))
    if m := re.fullmatch(r"(?:(aromatic|aliphatic) )?organo(fluorine|chlorine|bromine|iodine) compound", phrase):
        return halogen_compound(g, m[1], HALOGENS[m[2]])
    if m := re.fullmatch(rf"organo({'|'.join(ORGANO)}) compound", phrase):
        return bonded_to_carbon(g, ORGANO[m[1]])
    raise KeyError(phrase)


def short_acid(g: Graph, carbon: Atom, word: str) -> bool:
    if word == "formate":
        return hydrogens(carbon) == 1
    return any(saturated(g, x) and hydrogens(x) == 3 for x in g.near(carbon, "C"))


def halogen_compound(g: Graph, adjective: str | None, symbol: str) -> bool:
    on_carbon = [c for x in g.of(symbol) for c in g.near(x, "C")]
    if adjective == "aromatic":
        return bool(on_carbon) and all(c.GetIsAromatic() for c in on_carbon)
    return bool(on_carbon) and not (adjective == "aliphatic" and any_aromatic(g))
