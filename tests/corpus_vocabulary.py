"""The words of the corpus and what they stand for, as the test knows them: numbers, elements, partners, rings."""

from __future__ import annotations

WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
VALUES = {word: k for k, word in enumerate(WORDS)} | {str(k): k for k in range(13, 100)} | {"a": 1, "an": 1}
NUMBER = rf"(?:{'|'.join(WORDS[1:])}|\d\d)"
COUNT = rf"(?:an?|{NUMBER})"
SYMBOLS = {
    "nitrogen": "N", "oxygen": "O", "sulfur": "S", "silicon": "Si", "phosphorus": "P", "boron": "B", "selenium": "Se",
    "tin": "Sn", "germanium": "Ge", "arsenic": "As", "mercury": "Hg", "lead": "Pb", "tellurium": "Te", "antimony": "Sb",
    "bismuth": "Bi", "fluorine": "F", "chlorine": "Cl", "bromine": "Br", "iodine": "I",
}  # fmt: skip
ISOTOPES = {
    "deuterium": (1, 2), "tritium": (1, 3), "carbon-11": (6, 11), "carbon-13": (6, 13), "carbon-14": (6, 14),
    "nitrogen-15": (7, 15), "oxygen-18": (8, 18), "sulfur-35": (16, 35), "iodine-125": (53, 125),
    "iodine-131": (53, 131),
}  # fmt: skip
# What goes with the organic part: the word before 'salt' or 'of', the name in a list, and the structure.
PARTNERS = {
    "sodium": ("sodium cation", "[Na+]"), "potassium": ("potassium cation", "[K+]"),
    "lithium": ("lithium cation", "[Li+]"), "silver": ("silver cation", "[Ag+]"),
    "calcium": ("calcium cation", "[Ca++]"), "magnesium": ("magnesium cation", "[Mg++]"),
    "barium": ("barium cation", "[Ba++]"), "strontium": ("strontium cation", "[Sr++]"),
    "zinc": ("zinc cation", "[Zn++]"), "copper": ("copper cation", "[Cu++]"), "cobalt": ("cobalt cation", "[Co++]"),
    "nickel": ("nickel cation", "[Ni++]"), "manganese": ("manganese cation", "[Mn++]"),
    "lead": ("lead cation", "[Pb++]"), "aluminium": ("aluminium cation", "[Al+3]"),
    "chromium": ("chromium cation", "[Cr+3]"), "iron": ("iron cation", "[Fe+3]"),
    "fluoride": ("fluoride anion", "[F-]"), "chloride": ("chloride anion", "[Cl-]"),
    "bromide": ("bromide anion", "[Br-]"), "iodide": ("iodide anion", "[I-]"),
    "hydroxide": ("hydroxide anion", "[OH-]"), "nitrate": ("nitrate anion", "[O-][N+]([O-])=O"),
    "perchlorate": ("perchlorate anion", "[O-][Cl+3]([O-])([O-])[O-]"),
    "tetrafluoroborate": ("tetrafluoroborate anion", "[B-](F)(F)(F)F"),
    "hexafluorophosphate": ("hexafluorophosphate anion", "[P-](F)(F)(F)(F)(F)F"),
    "hydrogensulfate": ("hydrogensulfate anion", "OS([O-])(=O)=O"),
    "sulfate": ("sulfate anion", "[O-]S([O-])(=O)=O"), "methyl sulfate": ("methyl sulfate anion", "[O-]S(=O)(=O)OC"),
    "tosylate": ("tosylate anion", "[O-]S(=O)(=O)c1ccc(C)cc1"), "phosphate": ("phosphate anion", "[O-]P([O-])([O-])=O"),
    "ammonium": ("ammonium cation", "[NH4+]"), "triethanolamine": ("triethanolamine molecule", "N(CCO)(CCO)CCO"),
    "diethanolamine": ("diethanolamine molecule", "N(CCO)CCO"),
}  # fmt: skip
ADDENDS = {
    "hydrochloride": ("hydrogen chloride molecule", "Cl"), "hydrobromide": ("hydrogen bromide molecule", "Br"),
    "hydroiodide": ("hydrogen iodide molecule", "I"), "sulfate": ("sulfuric acid molecule", "OS(O)(=O)=O"),
    "phosphate": ("phosphoric acid molecule", "OP(O)(O)=O"), "nitrate": ("nitric acid molecule", "O[N+]([O-])=O"),
    "hydrate": ("water molecule", "[OH2]"), "acetate": ("acetic acid molecule", "OC(C)=O"),
    "mesylate": ("methanesulfonic acid molecule", "OS(C)(=O)=O"), "oxalate": ("oxalic acid molecule", "OC(=O)C(O)=O"),
    "ammonia": ("ammonia molecule", "[NH3]"),
}  # fmt: skip
# Rings that `chemicals` has under no such name, or under that name in another tautomer.
OWN_RINGS = {
    "chromene": "O=C1C=Cc2ccccc2O1",
    "isoindoline": "c1ccc2CNCc2c1",
    "phthalane": "c1ccc2COCc2c1",
    "oxazolidine": "C1NCOC1",
    "imidazolidine": "N1CCNC1",
    "hexahydropyrimidine": "N1CCCNC1",
    "1,2,4-oxadiazole": "c1nocn1",
    "penam": "N12C(CC1=O)SCC2",
    "cephem": "N12C(CC1=O)SCC=C2",
    "2,3-dihydro-1,4-benzodiazepine": "c1ccc2NCCN=Cc2c1",
}
CYCLES = {
    "bicyclic": 2,
    "tricyclic": 3,
    "tetracyclic": 4,
    "pentacyclic": 5,
    "hexacyclic": 6,
    "heptacyclic": 7,
    "octacyclic": 8,
}
ALKYLS = ["ethyl", "propyl", "butyl", "pentyl", "hexyl", "heptyl", "octyl", "nonyl", "decyl", "undecyl", "dodecyl"]
ALKYLS += ["tridecyl", "tetradecyl", "pentadecyl", "hexadecyl", "heptadecyl", "octadecyl"]
SIMPLE = {
    "fluoro": "F", "chloro": "Cl", "bromo": "Br", "iodo": "I", "methyl": "C", "methoxy": "OC", "hydroxy": "O",
    "amino": "N", "nitro": "[N+](=O)[O-]", "cyano": "C#N", "trifluoromethyl": "C(F)(F)F",
}  # fmt: skip
LINKS = (
    " bearing ",
    " with ",
    " that contains ",
    " carrying ",
    "; it has ",
    " in which one finds ",
    " characterised by ",
)
STARTS = ("The molecule is ", "This compound is ", "Structurally, it is ", "In structural terms, ", "")
HELD = rf"{NUMBER} (?:{'|'.join(SYMBOLS)})(?! atom)"
GENERIC_RING = (
    rf"(?P<degree>partly aromatic|aromatic|saturated|partly unsaturated) (?P<size>\d+-membered|\w+cyclic) "
    rf"(?P<kind>carbocycle|heterocycle)s?(?: holding (?P<held>{HELD}(?:(?:, | and ){HELD})*))?"
)
# Two wordings for one group; the second is the one that has a counter.
SYNONYMS = {
    "free carboxylic acid group": "carboxy group",
    "carboxylic ester linkage": "ester group",
    "cyclic ester group": "lactone group",
    "N-monosubstituted amide group": "secondary amide group",
    "N,N-disubstituted amide group": "tertiary amide group",
    "cyclic amide group": "lactam group",
    "carbamide unit": "urea group",
    "urethane group": "carbamate group",
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
    "nitrooxy group": "nitrate ester group",
    "C≡N group": "cyano group",
    "N=N bridge": "azo linkage",
    "thiol group": "sulfanyl group",
    "sulfide bridge": "thioether linkage",
    "sulfonyl bridge": "sulfone group",
    "sulfonic amide group": "sulfonamide group",
    "fluorine atom on carbon": "fluoro substituent",
    "chlorine atom on carbon": "chloro substituent",
    "bromine atom on carbon": "bromo substituent",
    "iodine atom on carbon": "iodo substituent",
    "CF3 group": "trifluoromethyl group",
    "carbon-carbon double bond": "C=C double bond",
    "CH2=CH end group": "terminal vinyl group",
    "carbon-carbon triple bond": "C≡C triple bond",
    "aromatic methyl group": "methyl group on an aromatic ring",
    "methyl group on nitrogen": "N-methyl group",
    "tertiary butyl group": "tert-butyl group",
    "propan-2-yl group": "isopropyl group",
    "monosubstituted benzene ring": "phenyl group",
}
