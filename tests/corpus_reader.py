"""Read a corpus description back and check every claim in it against the molecule.

The reader has its own grammar: a sentence, a list item or a phrase that it does not know is an error, so that no
wording can enter the corpus unchecked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from rdkit import Chem
from rdkit.Chem import rdCIPLabeler

from tests.corpus_groups import COUNTERS
from tests.corpus_kinds import kind_holds
from tests.corpus_molecule import Molecule, count_alkyls, count_generic, count_phenyls, has_oxo, named_rings
from tests.corpus_vocabulary import (
    ADDENDS,
    ALKYLS,
    COUNT,
    GENERIC_RING,
    ISOTOPES,
    LINKS,
    NUMBER,
    PARTNERS,
    SIMPLE,
    STARTS,
    SYMBOLS,
    VALUES,
)

MULTIPLES = {"": 1, "mono": 1, "di": 2, "tri": 3, "tetra": 4}


class Unreadable(ValueError):
    """A sentence, item or phrase that the reader has no check for."""


class Untrue(ValueError):
    """A claim that the molecule does not bear out."""


def singular(noun: str) -> str:
    noun = re.sub(
        r" on (aromatic|non-aromatic|benzene) rings$",
        lambda m: f" on a{'n' if m[1] == 'aromatic' else ''} {m[1]} ring",
        noun,
    )
    noun = re.sub(r"\b(group|linkage|bond|substituent|atom|centre|bridge|unit|cation|anion|molecule)s\b", r"\1", noun)
    return re.sub(r"(?<!outside )rings$", "ring", noun)


def check(true: bool, claim: str) -> None:
    if not true:
        raise Untrue(claim)


RING = r"(oxo-substituted )?(\S+) ring"


def rings_called(m: Molecule, noun: str) -> list[frozenset[int]]:
    """The ring systems that a noun like 'oxo-substituted pyrrole ring' names; none for another noun."""
    found = None if noun in COUNTERS else re.fullmatch(RING, noun)
    return [s for s in named_rings(m, found[2]) if has_oxo(m, s) == bool(found[1])] if found else []


def count_of(m: Molecule, noun: str, named: set[frozenset[int]]) -> int:
    """How many of a thing the organic part has; raises Unreadable for a thing without a counter."""
    if noun in COUNTERS:
        return COUNTERS[noun](m)
    if (found := re.fullmatch(r"(\w+) group", noun)) and found[1] in ALKYLS:
        return count_alkyls(m, ALKYLS.index(found[1]) + 2)
    if (found := re.fullmatch(r"(\w+) atom", noun)) and found[1] in SYMBOLS:
        return len(m.of(SYMBOLS[found[1]]))
    if (found := re.fullmatch(r"([\d,]+)-(di|bis\()?([a-z]+?)\)?phenyl group", noun)) and found[3] in SIMPLE:
        return count_phenyls(m, tuple(map(int, found[1].split(","))), found[3])
    if found := re.fullmatch(GENERIC_RING, noun):
        return count_generic(m, found, named)
    if re.fullmatch(RING, noun):
        return len(rings_called(m, noun))
    raise Unreadable(noun)


def read_list(text: str) -> list[tuple[int, str]]:
    """'a nitro group, two methoxy groups and a furan ring' as counts and singular nouns."""
    pieces, found = re.split(r", | and ", text), []
    while pieces:
        for taken in range(1, len(pieces) + 1):
            match = re.fullmatch(rf"({COUNT}) (.+)", joined(pieces[:taken]))
            # 'holding one nitrogen and one oxygen' goes on where a bare element follows.
            goes_on = taken < len(pieces) and re.fullmatch(rf"{NUMBER} ({'|'.join(SYMBOLS)})", pieces[taken])
            if match and not goes_on and known(singular(match[2])):
                found.append((VALUES[match[1]], singular(match[2])))
                pieces = pieces[taken:]
                break
        else:
            raise Unreadable(text)
    return found


def joined(pieces: list[str]) -> str:
    return pieces[0] if len(pieces) == 1 else ", ".join(pieces[:-1]) + " and " + pieces[-1]


def known(noun: str) -> bool:
    patterns = (GENERIC_RING, r"(oxo-substituted )?\S+ ring", r"[\d,]+-\S+phenyl group", rf"({'|'.join(ALKYLS)}) group")
    return noun in COUNTERS or any(re.fullmatch(p, noun) for p in (*patterns, rf"({'|'.join(SYMBOLS)}) atom"))


def check_list(m: Molecule, text: str) -> None:
    items = read_list(text)
    named = {ring for _, noun in items for ring in rings_called(m, noun)}
    for n, noun in items:
        check(count_of(m, noun, named) == n, f"{n} x {noun}")


def check_kind(m: Molecule, phrase: str) -> None:
    """A kind with its article: 'an aromatic ether', 'a member of the pyridines'."""
    noun = re.sub(r"^an? ", "", phrase)
    ring = re.fullmatch(r"member of the (\S+)s", noun)
    try:
        check(bool(named_rings(m, ring[1])) if ring and ring[1] != "phenol" else kind_holds(m, noun), phrase)
    except KeyError:
        raise Unreadable(phrase) from None


def check_partners(m: Molecule, text: str, copies: int) -> None:
    names = {name: Chem.CanonSmiles(smiles) for name, smiles in (*PARTNERS.values(), *ADDENDS.values())}
    told = Counter()
    for item in re.split(r", | and ", text):
        match = re.fullmatch(rf"({COUNT}) (.+)", item)
        if not match or singular(match[2]) not in names:
            raise Unreadable(text)
        told[names[singular(match[2])]] += VALUES[match[1]]
    check(told == m.others and copies == m.copies, text)


def check_head(m: Molecule, head: str) -> None:
    """The opening noun phrase: a kind, alone or with the ions and molecules that come with it."""
    if found := re.fullmatch(rf"a combination of (.+) with ({NUMBER}) equivalents of (an? .+)", head):
        check_partners(m, found[1], VALUES[found[2]])
        return check_kind(m, found[3])
    if found := re.fullmatch(r"(an? .+) combined with (.+)", head):
        check_partners(m, found[2], 1)
        return check_kind(m, found[1])
    if found := re.fullmatch(r"the (?:conjugate base|anion) of (an? .+)", head):
        check(not m.others and Chem.GetFormalCharge(m.mol) < 0, head)
        return check_kind(m, found[1])
    for words, ending in ((PARTNERS, " salt"), (ADDENDS, "")):
        pattern = rf"the (mono|di|tri|tetra|)({'|'.join(words)}){ending} of (an? .+)"
        if found := re.fullmatch(pattern, head):
            expected = {Chem.CanonSmiles(words[found[2]][1]): MULTIPLES[found[1]]}
            check(m.copies == 1 and (m.others == expected or is_ammonia_salt(m, found[2], MULTIPLES[found[1]])), head)
            return check_kind(m, found[3])
    check(not m.others, head)
    return check_kind(m, head)


def is_ammonia_salt(m: Molecule, word: str, count: int) -> bool:
    return word == "ammonium" and m.others == {"N": count}


def check_opening(m: Molecule, sentence: str) -> None:
    """Start, head and list. Both may hold 'with', so each place where the list could begin is tried."""
    start = next(s for s in STARTS if sentence.startswith(s))
    body = sentence.removeprefix(start).removesuffix(".")
    if not start:
        body = re.sub(r"^(A|An|The) ", lambda article: article[0].lower(), body)
    splits = [(body[: k.start()], body[k.end() :]) for link in LINKS for k in re.finditer(re.escape(link), body)]
    for head, items in [*splits, (body, "")]:
        try:
            if items:
                read_list(items)
            check_head(m, head)
        except Unreadable:
            continue
        return check_list(m, items) if items else None
    raise Unreadable(sentence)


def check_member(m: Molecule, text: str) -> None:
    for item in re.split(r", | and (?=an? )", text):
        check_kind(m, item)


def labels(m: Molecule) -> Counter[str]:
    """R and S by the newer labelling, provided the older one agrees."""
    old = dict(Chem.FindMolChiralCenters(Chem.Mol(m.mol), useLegacyImplementation=True))
    mol = Chem.Mol(m.mol)
    rdCIPLabeler.AssignCIPLabels(mol)
    new = {a.GetIdx(): a.GetProp("_CIPCode") for a in mol.GetAtoms() if a.HasProp("_CIPCode")}
    check(old == {i: code for i, code in new.items() if code in "RS"}, "configurations on which two programs agree")
    return Counter(old.values())


def geometries(m: Molecule) -> Counter[str]:
    return Counter(
        str(b.GetStereo())[-1] for b in m.mol.GetBonds() if str(b.GetStereo()).endswith(("STEREOE", "STEREOZ"))
    )


def open_centres(m: Molecule) -> int:
    check("@" not in Chem.MolToSmiles(m.mol), "no drawn configuration")
    return len(Chem.FindMolChiralCenters(Chem.Mol(m.mol), includeUnassigned=True, useLegacyImplementation=False))


def longest_chain(m: Molecule) -> int:
    """Longest simple path over carbons outside rings, by depth-first search from every carbon."""
    carbons = {a.GetIdx() for a in m.of("C") if not a.IsInRing()}

    def depth(i: int, came_from: int) -> int:
        onward = [x.GetIdx() for x in m.near(m.mol.GetAtomWithIdx(i), "C") if x.GetIdx() in carbons]
        return 1 + max((depth(x, i) for x in onward if x != came_from), default=0)

    return max((depth(i, -1) for i in carbons), default=0)


def ring_places(m: Molecule, name: str) -> list[tuple[int, ...]]:
    """Every numbering of the one ring of that name, as the places that carry a substituent."""
    (atoms,) = named_rings(m, name)
    (ring,) = (list(r) for r in Chem.GetSymmSSSR(m.mol) if frozenset(r) == atoms)
    numberings = [ring[k:] + ring[:k] for k in range(6)]
    numberings += [[t[0], *t[:0:-1]] for t in numberings]
    if name == "pyridine":
        numberings = [t for t in numberings if m.mol.GetAtomWithIdx(t[0]).GetSymbol() == "N"]
    out = [
        [k + 1 for k, i in enumerate(t) if any(x.GetIdx() not in atoms for x in m.near(m.mol.GetAtomWithIdx(i)))]
        for t in numberings
    ]
    return [tuple(places) for places in out]


def lowest_places(m: Molecule, name: str) -> tuple[int, ...]:
    return min(ring_places(m, name))


def places(text: str) -> tuple[int, ...]:
    return tuple(int(k) for k in re.findall(r"\d", text))


def pair(m: Molecule, word: str) -> bool:
    return lowest_places(m, "benzene") == (1, {"ortho": 2, "meta": 3, "para": 4}[word])


def ring_gap(m: Molecule) -> int:
    """Atoms between the two ring systems: the breadth-first distance less one."""
    first, second = m.systems()
    reached, steps = set(first), 0
    while not reached & second:
        reached |= {x.GetIdx() for i in reached for x in m.near(m.mol.GetAtomWithIdx(i))}
        steps += 1
    return steps - 1


def hetero_atoms(m: Molecule, text: str) -> bool:
    told = {SYMBOLS[noun.removesuffix(" atom")]: n for n, noun in read_list(text)}
    return told == Counter(a.GetSymbol() for a in m.atoms if a.GetSymbol() != "C")


def isotopes(m: Molecule, text: str) -> bool:
    told = Counter()
    for item in re.split(r", | and ", text):
        count, name = re.fullmatch(rf"({COUNT}) (\S+) atoms?", item).groups()
        told[ISOTOPES[name]] += VALUES[count]
    return told == Counter((a.GetAtomicNum(), a.GetIsotope()) for a in m.mol.GetAtoms() if a.GetIsotope())


def centres(m: Molecule, total: str, r: str, s: str) -> bool:
    return labels(m) == Counter(R=VALUES[r], S=VALUES[s]) and VALUES[total] == VALUES[r] + VALUES[s]


N = rf"({NUMBER})"
SENTENCES: dict[str, Callable[..., bool]] = {
    r"The two substituents of its benzene ring are (ortho|meta|para) to each other": pair,
    r"Its benzene ring is (ortho|meta|para)-disubstituted": pair,
    r"A (ortho|meta|para) arrangement of substituents is found on the benzene ring": pair,
    r"Its benzene ring is ([\d,]+)-(tri|tetra)substituted": lambda m, t, d: (
        lowest_places(m, "benzene") == places(t) and len(places(t)) == {"tri": 3, "tetra": 4}[d]
    ),
    r"(?:The benzene ring is substituted at positions|Substituents occupy positions) ([\d, and]+?)"
    r"(?: of the benzene ring)?": (lambda m, t: lowest_places(m, "benzene") == places(t)),
    r"(?:Its pyridine ring is substituted|Counted from nitrogen, the pyridine ring has substituents) at ([\d, and]+)": (
        lambda m, t: lowest_places(m, "pyridine") == places(t)
    ),
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
    r"A single bond joins its two ring systems": lambda m: ring_gap(m) == 0,
    r"The two ring systems are bonded directly to each other": lambda m: ring_gap(m) == 0,
    r"One atom bridges its two ring systems": lambda m: ring_gap(m) == 1,
    r"The two ring systems are held apart by a single atom": lambda m: ring_gap(m) == 1,
    rf"Its two ring systems are {N} atoms apart": lambda m, n: ring_gap(m) == VALUES[n],
    rf"A tether of {N} atoms connects the two ring systems": lambda m, n: ring_gap(m) == VALUES[n],
}
MEMBER = r"(?:It is also|It can be classed as|It is|From another viewpoint it is) (an? .+)"


def carbons(m: Molecule, n: str, where: str) -> bool:
    return len(m.of("C")) == VALUES[n] and (where == "in its organic part") == bool(m.others)


def check_sentence(m: Molecule, sentence: str) -> None:
    for pattern, holds in SENTENCES.items():
        if found := re.fullmatch(pattern + r"\.", sentence):
            return check(holds(m, *found.groups()), sentence)
    if found := re.fullmatch(MEMBER + r"\.", sentence):
        return check_member(m, found[1])
    raise Unreadable(sentence)


def check_description(smiles: str, description: str) -> int:
    """Check every claim; returns the number of sentences. Raises Unreadable or Untrue."""
    m = Molecule(smiles)
    first, *rest = re.split(r"(?<=\.) (?=[A-Z])", description)
    check_opening(m, first)
    for sentence in rest:
        check_sentence(m, sentence)
    return 1 + len(rest)
