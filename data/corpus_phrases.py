"""The sentences of the corpus, each in several wordings; braces are filled in by `corpus_wording`."""

from __future__ import annotations

NUMBERS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
CYCLES = {
    2: "bicyclic",
    3: "tricyclic",
    4: "tetracyclic",
    5: "pentacyclic",
    6: "hexacyclic",
    7: "heptacyclic",
    8: "octacyclic",
}
ELEMENT_NAMES = {
    "N": "nitrogen",
    "O": "oxygen",
    "S": "sulfur",
    "Si": "silicon",
    "P": "phosphorus",
    "B": "boron",
    "Se": "selenium",
    "Sn": "tin",
    "Ge": "germanium",
    "As": "arsenic",
    "Hg": "mercury",
    "Pb": "lead",
    "Te": "tellurium",
    "Sb": "antimony",
    "Bi": "bismuth",
    "F": "fluorine",
    "Cl": "chlorine",
    "Br": "bromine",
    "I": "iodine",
}
ISOTOPES = {
    "H2": "deuterium",
    "H3": "tritium",
    "C11": "carbon-11",
    "C13": "carbon-13",
    "C14": "carbon-14",
    "N15": "nitrogen-15",
    "O18": "oxygen-18",
    "S35": "sulfur-35",
    "I125": "iodine-125",
    "I131": "iodine-131",
}

STARTS = (
    "The molecule is {}",
    "The molecule is {}",
    "This compound is {}",
    "Structurally, it is {}",
    "{}",
    "In structural terms, {}",
)
LINKS = (
    " bearing {}",
    " with {}",
    " that contains {}",
    " carrying {}",
    "; it has {}",
    " in which one finds {}",
    " characterised by {}",
)

BENZENE_PAIR = (
    "The two substituents of its benzene ring are {word} to each other.",
    "Its benzene ring is {word}-disubstituted.",
    "The benzene ring is substituted at positions 1 and {second}.",
    "A {word} arrangement of substituents is found on the benzene ring.",
)
BENZENE = (
    "Its benzene ring is {comma}-{degree}substituted.",
    "The benzene ring is substituted at positions {words}.",
    "Substituents occupy positions {words} of the benzene ring.",
)
PYRIDINE = (
    "Its pyridine ring is substituted at {words}.",
    "Counted from nitrogen, the pyridine ring has substituents at {words}.",
)
CHAIN = (
    "Its longest open carbon chain has {} atoms.",
    "The longest acyclic chain of carbon atoms counts {}.",
    "Outside any ring, up to {} carbon atoms follow one another.",
    "Its acyclic carbon backbone is {} atoms long.",
)
ONE_CENTRE = (
    "The stereocentre has {} configuration.",
    "Its one defined stereocentre is {}-configured.",
    "The chiral centre is {}.",
)
OPEN_CENTRES = (
    "The configuration of {} {} is not specified.",
    "It has {} {} of unspecified configuration.",
    "No configuration is given for {} {}.",
)
ONE_BOND = ("A double bond has {} geometry.", "One double bond is {}-configured.")
SIZE = (
    "There are {} carbon atoms {}.",
    "It counts {} carbon atoms {}.",
    "Carbon atoms number {} {}.",
)
HETERO = (
    "Besides carbon and hydrogen it is built from {}.",
    "Its hetero atoms: {}.",
    "The hetero atoms are {}.",
    "Among the elements other than carbon and hydrogen one counts {}.",
)
GAP = {
    0: ("A single bond joins its two ring systems.", "The two ring systems are bonded directly to each other."),
    1: ("One atom bridges its two ring systems.", "The two ring systems are held apart by a single atom."),
}
LONGER_GAP = ("Its two ring systems are {} atoms apart.", "A tether of {} atoms connects the two ring systems.")
MEMBER_SENTENCES = (
    "It is also {}.",
    "It can be classed as {}.",
    "It is {}.",
    "From another viewpoint it is {}.",
)
# Classes that a group brings along, whatever the kind is.
MEMBERS = {
    "aryl_ether": "aromatic ether",
    "aryl_ketone": "aryl ketone",
    "aryl_nitro": "nitroarene",
    "amine_3": "tertiary amine",
    "amine_2": "secondary amine",
    "alcohol_1": "primary alcohol",
    "alcohol_2": "secondary alcohol",
    "alcohol_3": "tertiary alcohol",
    "phenol": "member of the phenols",
    "carbon_nitrile": "nitrile",
    "sulfide": "thioether",
    "lactam": "lactam",
    "azo": "azo compound",
    "alkyne": "acetylenic compound",
    "alkene": "olefinic compound",
    "quaternary": "quaternary ammonium compound",
    "sulfonamide": "sulfonamide",
    "carbamate": "carbamate ester",
    "ring_ketone": "cyclic ketone",
}
