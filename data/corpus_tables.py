"""The chemical vocabulary of the corpus: groups, ring systems, counter-parts and the words for them."""

from __future__ import annotations

from typing import NamedTuple


class Group(NamedTuple):
    """A structural feature that can be counted: how it is written and how it is found."""

    singular: str
    plural: str
    smarts: str


# The carbon of an acyl group R-CO (R = carbon or hydrogen), so that carbonic acid derivatives stay apart.
_ACYL = "[$([CX3][#6]),$([CX3;H1])]"
# A carbon that is not itself doubly bonded to a hetero atom: the outer side of an ester, amide or ether.
_OUT = "[#6;!$([#6]=[O,S,N])]"

GROUPS = {
    "carboxy": Group("carboxy group", "carboxy groups", f"{_ACYL}(=O)[OX2;H1]"),
    "carboxylate": Group("carboxylate group", "carboxylate groups", f"{_ACYL}(=O)[OX1;-]"),
    "ester": Group("ester group", "ester groups", f"{_ACYL}(=O)!@[OX2;$(O{_OUT});H0]"),
    "lactone": Group("lactone group", "lactone groups", f"{_ACYL}(=O)@[OX2;$(O{_OUT})]"),
    "amide_1": Group("primary amide group", "primary amide groups", f"{_ACYL}(=O)[NX3;H2]"),
    "amide_2": Group("secondary amide group", "secondary amide groups", f"{_ACYL}(=O)!@[NX3;H1;$(N{_OUT})]"),
    "amide_3": Group("tertiary amide group", "tertiary amide groups", f"{_ACYL}(=O)!@[NX3;H0;$(N({_OUT}){_OUT})]"),
    "lactam": Group(
        "lactam group", "lactam groups", f"[$([CX3][#6])](=O)@[$([NX3;H1]{_OUT}),$([NX3;H0]({_OUT}){_OUT})]"
    ),
    "imide": Group("imide group", "imide groups", "[NX3;+0;$(N(C(=O)[#6])C(=O)[#6])]"),
    "urea": Group("urea group", "urea groups", "[CX3](=O)([NX3;+0])[NX3;+0]"),
    "carbamate": Group("carbamate group", "carbamate groups", "[CX3](=O)([NX3;+0])[OX2;$(O([#6])[#6])]"),
    "carbonate": Group("carbonate group", "carbonate groups", "[CX3;$(C(=O)([OX2][#6])[OX2][#6])]"),
    "acyl_chloride": Group("acyl chloride group", "acyl chloride groups", "[CX3;$(C[#6])](=O)Cl"),
    "anhydride": Group("anhydride group", "anhydride groups", "[OX2;$(O(C(=O)[#6])C(=O)[#6])]"),
    "aldehyde": Group("aldehyde group", "aldehyde groups", "[CX3;H1;$(C[#6])]=O"),
    "ketone": Group("ketone group", "ketone groups", "[CX3;$(C([#6])[#6])]=O"),
    "alcohol_1": Group("primary hydroxy group", "primary hydroxy groups", "[CX4;H2;$(C[#6])][OX2;H1]"),
    "alcohol_2": Group("secondary hydroxy group", "secondary hydroxy groups", "[CX4;H1;$(C([#6])[#6])][OX2;H1]"),
    "alcohol_3": Group("tertiary hydroxy group", "tertiary hydroxy groups", "[CX4;H0;$(C([#6])([#6])[#6])][OX2;H1]"),
    "phenol": Group("phenolic hydroxy group", "phenolic hydroxy groups", "[OX2;H1;$(Oc1ccccc1)]"),
    "phenolate": Group("phenolate group", "phenolate groups", "[OX1;-;$(Oc1ccccc1)]"),
    "ether": Group("ether linkage", "ether linkages", "[OX2;!R;$(O([CX4,c])[CX4,c])]"),
    "methoxy": Group("methoxy group", "methoxy groups", "[CX4;H3][OX2;$(O[CX4,c][#6,#7,#8,#9,#17,#35])]"),
    "peroxide": Group("peroxide linkage", "peroxide linkages", "[OX2;$(O[#6])]-[OX2;$(O[#6])]"),
    "amine_1": Group("primary amino group", "primary amino groups", "[NX3;H2;+0;$(N[CX4])]"),
    "aryl_amine_1": Group("aromatic amino group", "aromatic amino groups", "[NX3;H2;+0;$(Nc)]"),
    "amine_2": Group("secondary amino group", "secondary amino groups", "[NX3;H1;+0;$(N([CX4,c])[CX4,c])]"),
    "amine_3": Group("tertiary amino group", "tertiary amino groups", "[NX3;H0;+0;$(N([CX4,c])([CX4,c])[CX4,c])]"),
    "ammonium": Group("protonated amino group", "protonated amino groups", "[NX4;+;!H0;$(N[#6])]"),
    "quaternary": Group(
        "quaternary ammonium centre", "quaternary ammonium centres", "[NX4;+;H0;$(N([#6])([#6])([#6])[#6])]"
    ),
    "azinium": Group("quaternised ring nitrogen atom", "quaternised ring nitrogen atoms", "[nX3;+;$(n[CX4])]"),
    "n_oxide": Group("aromatic N-oxide group", "aromatic N-oxide groups", "[n;+][OX1;-]"),
    "nitro": Group("nitro group", "nitro groups", "[NX3;+;$(N[#6])](=O)[OX1;-]"),
    "nitrate": Group("nitrate ester group", "nitrate ester groups", "[NX3;+;$(N[OX2][#6])](=O)[OX1;-]"),
    "nitrile": Group("cyano group", "cyano groups", "[CX2;$(C[#6])]#[NX1]"),
    "isocyanate": Group("isocyanate group", "isocyanate groups", "[NX2;$(N[#6])]=[CX2]=[OX1]"),
    "isothiocyanate": Group("isothiocyanate group", "isothiocyanate groups", "[NX2;$(N[#6])]=[CX2]=[SX1]"),
    "azide": Group("azido group", "azido groups", "[NX2;$(N[#6])]=[NX2;+]=[NX1;-]"),
    "azo": Group("azo linkage", "azo linkages", "[NX2;!R;$(N[#6])]=[NX2;!R;$(N[#6])]"),
    "oxime": Group("oxime group", "oxime groups", "[CX3]=[NX2][OX2;H1]"),
    "thiol": Group("sulfanyl group", "sulfanyl groups", "[SX2;H1;$(S[#6])]"),
    "sulfide": Group("thioether linkage", "thioether linkages", "[SX2;!R;$(S([CX4,c])[CX4,c])]"),
    "disulfide": Group("disulfide linkage", "disulfide linkages", "[SX2;$(S[#6])]-[SX2;$(S[#6])]"),
    "sulfoxide": Group("sulfoxide group", "sulfoxide groups", "[SX3;$(S([#6])[#6])]=O"),
    "sulfone": Group("sulfone group", "sulfone groups", "[SX4;$(S(=O)(=O)([#6])[#6])]"),
    "sulfonic": Group("sulfonic acid group", "sulfonic acid groups", "[SX4;$(S(=O)(=O)([#6])[OX2;H1])]"),
    "sulfonate": Group("sulfonate group", "sulfonate groups", "[SX4;$(S(=O)(=O)([#6])[OX1;-])]"),
    "sulfonate_ester": Group("sulfonic ester group", "sulfonic ester groups", "[SX4;$(S(=O)(=O)([#6])[OX2][#6])]"),
    "sulfonamide": Group("sulfonamide group", "sulfonamide groups", "[SX4;$(S(=O)(=O)([#6])[NX3])]"),
    "sulfonyl_chloride": Group("sulfonyl chloride group", "sulfonyl chloride groups", "[SX4;$(S(=O)(=O)([#6])Cl)]"),
    "thiocarbonyl": Group("thiocarbonyl group", "thiocarbonyl groups", "[#6]=[SX1;$(S=[#6;!$(C=N)])]"),
    "phosphate": Group("phosphate group", "phosphate groups", "[PX4;$(P(=O)([OX2,OX1-])([OX2,OX1-])[OX2,OX1-])]"),
    "phosphonate": Group("phosphonate group", "phosphonate groups", "[PX4;$(P(=O)([#6])([OX2,OX1-])[OX2,OX1-])]"),
    "thiophosphate": Group(
        "phosphorothioate group",
        "phosphorothioate groups",
        "[PX4;$(P(=S)([OX2])([OX2])[OX2]),$(P(=O)([SX2])([OX2])[OX2])]",
    ),
    "dithiophosphate": Group(
        "phosphorodithioate group", "phosphorodithioate groups", "[PX4;$(P(=S)([SX2])([OX2])[OX2])]"
    ),
    "phosphine": Group("phosphine centre", "phosphine centres", "[PX3;$(P([#6])([#6])[#6])]"),
    "boronic": Group("boronic acid group", "boronic acid groups", "[BX3;$(B([#6])([OX2;H1])[OX2;H1])]"),
    "trimethylsilyl": Group(
        "trimethylsilyl group", "trimethylsilyl groups", "[SiX4;$([Si]([CX4;H3])([CX4;H3])[CX4;H3])]"
    ),
    "fluoro": Group("fluoro substituent", "fluoro substituents", "[F;$(F[#6])]"),
    "chloro": Group("chloro substituent", "chloro substituents", "[Cl;$(Cl[#6;!$(C=O)])]"),
    "bromo": Group("bromo substituent", "bromo substituents", "[Br;$(Br[#6])]"),
    "iodo": Group("iodo substituent", "iodo substituents", "[I;X1;$(I[#6])]"),
    "trifluoromethyl": Group("trifluoromethyl group", "trifluoromethyl groups", "[CX4;$(C(F)(F)(F)[#6])]"),
    "alkene": Group("C=C double bond", "C=C double bonds", "[#6]=[#6]"),
    "alkyne": Group("C≡C triple bond", "C≡C triple bonds", "[#6]#[#6]"),
    "aryl_methyl": Group("methyl group on an aromatic ring", "methyl groups on aromatic rings", "[CX4;H3;$(Cc)]"),
    "ring_methyl": Group(
        "methyl group on a non-aromatic ring", "methyl groups on non-aromatic rings", "[CX4;H3;$(C[C;R])]"
    ),
    "n_methyl": Group("N-methyl group", "N-methyl groups", "[CX4;H3;$(C[#7])]"),
    "tert_butyl": Group(
        "tert-butyl group", "tert-butyl groups", "[CX4;H0;$(C([CX4;H3])([CX4;H3])([CX4;H3])[!$([CX4;H3])])]"
    ),
    "isopropyl": Group("isopropyl group", "isopropyl groups", "[CX4;H1;$(C([CX4;H3])([CX4;H3])[!$([CX4;H3])])]"),
    "phenyl": Group("phenyl group", "phenyl groups", "[c;R1;H0;X3]1[c;H1][c;H1][c;H1][c;H1][c;H1]1"),
}

# Names in common use, each with the parent ring; an exocyclic oxo group does not change the name.
RING_SYSTEMS = {
    "benzene": "c1ccccc1",
    "pyridine": "c1ccncc1",
    "pyrimidine": "c1cncnc1",
    "pyrazine": "c1cnccn1",
    "pyridazine": "c1ccnnc1",
    "1,3,5-triazine": "c1ncncn1",
    "pyrrole": "c1cc[nH]c1",
    "furan": "c1ccoc1",
    "thiophene": "c1ccsc1",
    "imidazole": "c1c[nH]cn1",
    "pyrazole": "c1cc[nH]n1",
    "thiazole": "c1cscn1",
    "oxazole": "c1cocn1",
    "isoxazole": "c1cnoc1",
    "1,2,4-triazole": "c1nc[nH]n1",
    "tetrazole": "c1nnn[nH]1",
    "1,3,4-thiadiazole": "c1nncs1",
    "1,3,4-oxadiazole": "c1nnco1",
    "naphthalene": "c1ccc2ccccc2c1",
    "anthracene": "c1ccc2cc3ccccc3cc2c1",
    "phenanthrene": "c1ccc2c(c1)ccc1ccccc12",
    "pyrene": "c1cc2ccc3cccc4ccc(c1)c2c34",
    "fluorene": "C1c2ccccc2-c2ccccc21",
    "indane": "C1Cc2ccccc2C1",
    "indene": "C1C=Cc2ccccc21",
    "tetralin": "C1CCc2ccccc2C1",
    "quinoline": "c1ccc2ncccc2c1",
    "isoquinoline": "c1ccc2cnccc2c1",
    "quinazoline": "c1ccc2ncncc2c1",
    "quinoxaline": "c1ccc2nccnc2c1",
    "phthalazine": "c1ccc2cnncc2c1",
    "indole": "c1ccc2[nH]ccc2c1",
    "benzimidazole": "c1ccc2[nH]cnc2c1",
    "indazole": "c1ccc2[nH]ncc2c1",
    "benzotriazole": "c1ccc2[nH]nnc2c1",
    "benzofuran": "c1ccc2occc2c1",
    "benzothiophene": "c1ccc2sccc2c1",
    "benzothiazole": "c1ccc2scnc2c1",
    "benzoxazole": "c1ccc2ocnc2c1",
    "1,3-benzodioxole": "C1Oc2ccccc2O1",
    "chromene": "O=c1ccc2ccccc2o1",
    "purine": "c1ncc2nc[nH]c2n1",
    "carbazole": "c1ccc2c(c1)[nH]c1ccccc12",
    "acridine": "c1ccc2nc3ccccc3cc2c1",
    "dibenzofuran": "c1ccc2c(c1)oc1ccccc12",
    "phenothiazine": "N1c2ccccc2Sc2ccccc21",
    "1,10-phenanthroline": "c1cnc2c(c1)ccc1cccnc12",
    "cyclopropane": "C1CC1",
    "cyclobutane": "C1CCC1",
    "cyclopentane": "C1CCCC1",
    "cyclohexane": "C1CCCCC1",
    "cycloheptane": "C1CCCCCC1",
    "cyclooctane": "C1CCCCCCC1",
    "cyclopentene": "C1CC=CC1",
    "cyclohexene": "C1CCC=CC1",
    "decalin": "C1CCC2CCCCC2C1",
    "adamantane": "C1C2CC3CC1CC(C2)C3",
    "norbornane": "C1CC2CCC1C2",
    "norbornene": "C1CC2CC1C=C2",
    "oxirane": "C1CO1",
    "aziridine": "C1CN1",
    "azetidine": "C1CNC1",
    "oxetane": "C1COC1",
    "pyrrolidine": "C1CCNC1",
    "piperidine": "C1CCNCC1",
    "piperazine": "C1CNCCN1",
    "morpholine": "C1COCCN1",
    "azepane": "C1CCCNCC1",
    "imidazolidine": "C1CNCN1",
    "oxolane": "C1CCOC1",
    "oxane": "C1CCOCC1",
    "thiolane": "C1CCSC1",
    "1,3-dioxolane": "C1COCO1",
    "1,4-dioxane": "C1COCCO1",
    "thiazolidine": "C1CSCN1",
    "quinuclidine": "C1CN2CCC1CC2",
    "tropane": "C1CC2CCC(C1)N2",
    "xanthene": "C1c2ccccc2Oc2ccccc21",
    "dibenzazepine": "C1Cc2ccccc2Nc2ccccc21",
}


class CounterPart(NamedTuple):
    """An ion or small molecule that comes with the organic part: its own name and the word in '… salt'."""

    name: str
    salt: str
    charge: int


COUNTERPARTS = {
    "[Na+]": CounterPart("sodium cation", "sodium", 1),
    "[K+]": CounterPart("potassium cation", "potassium", 1),
    "[Li+]": CounterPart("lithium cation", "lithium", 1),
    "[NH4+]": CounterPart("ammonium cation", "ammonium", 1),
    "[Ag+]": CounterPart("silver cation", "silver", 1),
    "[Ca+2]": CounterPart("calcium cation", "calcium", 2),
    "[Mg+2]": CounterPart("magnesium cation", "magnesium", 2),
    "[Ba+2]": CounterPart("barium cation", "barium", 2),
    "[Sr+2]": CounterPart("strontium cation", "strontium", 2),
    "[Zn+2]": CounterPart("zinc cation", "zinc", 2),
    "[Cu+2]": CounterPart("copper cation", "copper", 2),
    "[Co+2]": CounterPart("cobalt cation", "cobalt", 2),
    "[Ni+2]": CounterPart("nickel cation", "nickel", 2),
    "[Mn+2]": CounterPart("manganese cation", "manganese", 2),
    "[Pb+2]": CounterPart("lead cation", "lead", 2),
    "[Al+3]": CounterPart("aluminium cation", "aluminium", 3),
    "[Cr+3]": CounterPart("chromium cation", "chromium", 3),
    "[Fe+3]": CounterPart("iron cation", "iron", 3),
    "[F-]": CounterPart("fluoride anion", "fluoride", -1),
    "[Cl-]": CounterPart("chloride anion", "chloride", -1),
    "[Br-]": CounterPart("bromide anion", "bromide", -1),
    "[I-]": CounterPart("iodide anion", "iodide", -1),
    "[OH-]": CounterPart("hydroxide anion", "hydroxide", -1),
    "[O-]Cl(=O)(=O)=O": CounterPart("perchlorate anion", "perchlorate", -1),
    "[O-][Cl+3]([O-])([O-])[O-]": CounterPart("perchlorate anion", "perchlorate", -1),
    "O=[N+]([O-])[O-]": CounterPart("nitrate anion", "nitrate", -1),
    "F[B-](F)(F)F": CounterPart("tetrafluoroborate anion", "tetrafluoroborate", -1),
    "F[P-](F)(F)(F)(F)F": CounterPart("hexafluorophosphate anion", "hexafluorophosphate", -1),
    "O=S(=O)([O-])O": CounterPart("hydrogensulfate anion", "hydrogensulfate", -1),
    "O=S(=O)([O-])[O-]": CounterPart("sulfate anion", "sulfate", -2),
    "COS(=O)(=O)[O-]": CounterPart("methyl sulfate anion", "methyl sulfate", -1),
    "Cc1ccc(S(=O)(=O)[O-])cc1": CounterPart("tosylate anion", "tosylate", -1),
    "O=P([O-])([O-])[O-]": CounterPart("phosphate anion", "phosphate", -3),
    "Cl": CounterPart("hydrogen chloride molecule", "hydrochloride", 0),
    "Br": CounterPart("hydrogen bromide molecule", "hydrobromide", 0),
    "I": CounterPart("hydrogen iodide molecule", "hydroiodide", 0),
    "O=S(=O)(O)O": CounterPart("sulfuric acid molecule", "sulfate", 0),
    "O=P(O)(O)O": CounterPart("phosphoric acid molecule", "phosphate", 0),
    "O=[N+]([O-])O": CounterPart("nitric acid molecule", "nitrate", 0),
    "O": CounterPart("water molecule", "hydrate", 0),
    "N": CounterPart("ammonia molecule", "ammonium", 0),
    "CC(=O)O": CounterPart("acetic acid molecule", "acetate", 0),
    "CS(=O)(=O)O": CounterPart("methanesulfonic acid molecule", "mesylate", 0),
    "O=C(O)C(=O)O": CounterPart("oxalic acid molecule", "oxalate", 0),
    "OCCN(CCO)CCO": CounterPart("triethanolamine molecule", "triethanolamine", 0),
    "OCCNCCO": CounterPart("diethanolamine molecule", "diethanolamine", 0),
}

# Surroundings of a group that decide what its parent acid, alcohol or amine is called. The counted atom is the acyl
# carbon (acid side) or the first carbon beyond the oxygen (alcohol side).
_ACID_OH = "[$([OX2;H1]),$([OX1;-])]"
_ESTER_O = f"!@[OX2;H0;$(O{_OUT})]"
_AMIDE_N = f"!@[$([NX3;H2]),$([NX3;H1]{_OUT}),$([NX3;H0]({_OUT}){_OUT})]"


def _acyl_side(tail: str) -> dict[str, str]:
    return {
        "aromatic": f"[$([CX3](=O)(c){tail})]",
        "unsaturated": f"[$([CX3](=O)([#6]=[#6]){tail})]",
        "acetic": f"[$([CX3](=O)([CX4;H3]){tail})]",
        "formic": f"[$([CX3;H1](=O){tail})]",
    }


def _alkyl_side(alkyl: str) -> str:
    return f"[$({alkyl});$([#6]!@[OX2]{_ACYL}=O)]"


SURROUNDINGS = {
    **{f"acid_{k}": v for k, v in _acyl_side(_ACID_OH).items()},
    **{f"ester_{k}": v for k, v in _acyl_side(_ESTER_O).items()},
    **{f"amide_{k}": v for k, v in _acyl_side(_AMIDE_N).items()},
    "ester_of_primary": _alkyl_side("[CX4;H2][#6]"),
    "ester_of_secondary": _alkyl_side("[CX4;H1]([#6])[#6]"),
    "ester_of_tertiary": _alkyl_side("[CX4;H0]([#6])([#6])[#6]"),
    "ester_of_phenol": _alkyl_side("c1ccccc1"),
    "amide_of_aryl": f"[c;$(c[NX3;H1]!@{_ACYL}=O)]",
    "aryl_aldehyde": "[CX3;H1;$(Cc)]=O",
    "aryl_ketone": "[CX3;$(C(c)[#6])]=O",
    "ring_ketone": "[CX3;R;$(C([#6])[#6])]=O",
    "aryl_ether": "[OX2;!R;$(O(c)[CX4,c])]",
    "ring_ether": "[OX2;R;$(O([#6])[#6])]",
    "aryl_nitro": "[NX3;+;$(Nc)](=O)[OX1;-]",
    "aryl_halogen": "[F,Cl,Br,I;X1;$(*c)]",
    "aryl_thiol": "[SX2;H1;$(Sc)]",
    "ring_nitrogen": "[#7;R]",
    "ring_sulfur": "[#16;R]",
}

ESTER_ALKYLS = {
    "methyl": _alkyl_side("[CX4;H3]"),
    "ethyl": _alkyl_side("[CX4;H2][CX4;H3]"),
    "propyl": _alkyl_side("[CX4;H2][CX4;H2][CX4;H3]"),
    "isopropyl": _alkyl_side("[CX4;H1]([CX4;H3])[CX4;H3]"),
    "butyl": _alkyl_side("[CX4;H2][CX4;H2][CX4;H2][CX4;H3]"),
    "isobutyl": _alkyl_side("[CX4;H2][CX4;H1]([CX4;H3])[CX4;H3]"),
    "tert-butyl": _alkyl_side("[CX4;H0]([CX4;H3])([CX4;H3])[CX4;H3]"),
    "pentyl": _alkyl_side("[CX4;H2][CX4;H2][CX4;H2][CX4;H2][CX4;H3]"),
    "hexyl": _alkyl_side("[CX4;H2][CX4;H2][CX4;H2][CX4;H2][CX4;H2][CX4;H3]"),
    "allyl": _alkyl_side("[CX4;H2][CX3;H1]=[CX3;H2]"),
    "vinyl": _alkyl_side("[CX3;H1]=[CX3;H2]"),
    "benzyl": _alkyl_side("[CX4;H2]c1[c;H1][c;H1][c;H1][c;H1][c;H1]1"),
    "phenyl": _alkyl_side("c1[c;H1][c;H1][c;H1][c;H1][c;H1]1"),
}
