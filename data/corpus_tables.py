"""The chemical vocabulary of the corpus: groups, ring systems, counter-parts and the words for them."""

from __future__ import annotations

from typing import NamedTuple


class Group:
    """A structural feature that can be counted: how it is found, and the words for one of it."""

    def __init__(self, smarts: str, *words: str) -> None:
        self.smarts = smarts
        self.words = words


# The carbon of an acyl group R-CO (R = carbon or hydrogen), so that carbonic acid derivatives stay apart.
_ACYL = "[$([CX3][#6]),$([CX3;H1])]"
# A carbon that is not itself doubly bonded to a hetero atom: the outer side of an ester, amide or ether.
_OUT = "[#6;!$([#6]=[O,S,N])]"

# A carbon that leaves an attached nitrogen an amine: saturated, aromatic or of a C=C double bond.
_AMINE = "[CX4,c,$([CX3]=[#6])]"

GROUPS = {
    "carboxy": Group(f"{_ACYL}(=O)[OX2;H1]", "carboxy group", "free carboxylic acid group"),
    "carboxylate": Group(f"{_ACYL}(=O)[OX1;-]", "carboxylate group"),
    "ester": Group(f"{_ACYL}(=O)!@[OX2;$(O{_OUT});H0]", "ester group", "carboxylic ester linkage"),
    "lactone": Group(f"{_ACYL}(=O)@[OX2;$(O{_OUT})]", "lactone group", "cyclic ester group"),
    "amide_1": Group(f"{_ACYL}(=O)[NX3;H2]", "primary amide group"),
    "amide_2": Group(f"{_ACYL}(=O)!@[NX3;H1;$(N{_OUT})]", "secondary amide group", "N-monosubstituted amide group"),
    "amide_3": Group(
        f"{_ACYL}(=O)!@[NX3;H0;$(N({_OUT}){_OUT})]", "tertiary amide group", "N,N-disubstituted amide group"
    ),
    "lactam": Group(
        f"[$([CX3][#6])](=O)@[$([NX3;H1]{_OUT}),$([NX3;H0]({_OUT}){_OUT})]", "lactam group", "cyclic amide group"
    ),
    "imide": Group("[NX3;+0;$(N(C(=O)[#6])C(=O)[#6])]", "imide group"),
    "urea": Group("[CX3](=O)([NX3;+0])[NX3;+0]", "urea group", "carbamide unit"),
    "carbamate": Group("[CX3](=O)([NX3;+0])[OX2;$(O([#6])[#6])]", "carbamate group", "urethane group"),
    "carbonate": Group("[CX3;$(C(=O)([OX2][#6])[OX2][#6])]", "carbonate group"),
    "acyl_chloride": Group("[CX3;$(C[#6])](=O)Cl", "acyl chloride group"),
    "anhydride": Group("[OX2;$(O(C(=O)[#6])C(=O)[#6])]", "anhydride group"),
    "aldehyde": Group("[CX3;H1;$(C[#6])]=O", "aldehyde group", "formyl group on carbon"),
    "ketone": Group("[CX3;$(C([#6])[#6])]=[OX1]", "ketone group", "ketonic carbonyl group"),
    "alcohol_1": Group("[CX4;H2;$(C[#6])][OX2;H1]", "primary hydroxy group", "primary alcohol group"),
    "alcohol_2": Group("[CX4;H1;$(C([#6])[#6])][OX2;H1]", "secondary hydroxy group", "secondary alcohol group"),
    "alcohol_3": Group("[CX4;H0;$(C([#6])([#6])[#6])][OX2;H1]", "tertiary hydroxy group", "tertiary alcohol group"),
    "phenol": Group("[OX2;H1;$(Oc1ccccc1)]", "phenolic hydroxy group", "hydroxy group on a benzene ring"),
    "phenolate": Group("[OX1;-;$(Oc1ccccc1)]", "phenolate group"),
    "ether": Group(f"[OX2;!R;$(O({_OUT}){_OUT})]", "ether linkage outside rings", "acyclic ether bond"),
    "methoxy": Group("[CX4;H3][OX2;$(O([CX4;H3])[#6;!$([#6]=[O,S])])]", "methoxy group"),
    "peroxide": Group("[OX2;$(O[#6])]-[OX2;$(O[#6])]", "peroxide linkage"),
    "amine_1": Group("[NX3;H2;+0;$(N[CX4,$([CX3]=[#6])])]", "primary amino group", "primary amine group"),
    "aryl_amine_1": Group("[NX3;H2;+0;$(Nc)]", "aromatic amino group", "amino group on an aromatic ring"),
    "amine_2": Group(f"[NX3;H1;+0;$(N({_AMINE}){_AMINE})]", "secondary amino group", "secondary amine group"),
    "amine_3": Group(f"[NX3;H0;+0;$(N({_AMINE})({_AMINE}){_AMINE})]", "tertiary amino group", "tertiary amine group"),
    "ammonium": Group("[NX4;+;!H0;$(N[#6])]", "protonated amino group"),
    "quaternary": Group("[NX4;+;H0;$(N([#6])([#6])([#6])[#6])]", "quaternary ammonium centre"),
    "azinium": Group("[nX3;+;$(n[CX4])]", "quaternised ring nitrogen atom"),
    "n_oxide": Group("[n;+][OX1;-]", "aromatic N-oxide group"),
    "nitro": Group("[NX3;+;$(N[#6,#7])](=O)[OX1;-]", "nitro group", "nitro substituent"),
    "nitrate": Group("[NX3;+;$(N[OX2][#6])](=O)[OX1;-]", "nitrate ester group", "nitrooxy group"),
    "nitrile": Group("[CX2;$(C[#6,#7])]#[NX1]", "cyano group", "C≡N group"),
    "isocyanate": Group("[NX2;$(N[#6])]=[CX2]=[OX1]", "isocyanate group"),
    "isothiocyanate": Group("[NX2;$(N[#6])]=[CX2]=[SX1]", "isothiocyanate group"),
    "azide": Group("[NX2;$(N[#6])]=[NX2;+]=[NX1;-]", "azido group"),
    "azo": Group("[NX2;!R;$(N[#6])]=[NX2;!R;$(N[#6])]", "azo linkage", "N=N bridge"),
    "oxime": Group("[#6;X3]=[NX2][OX2;H1]", "oxime group"),
    "thiol": Group("[SX2;H1;$(S[#6])]", "sulfanyl group", "thiol group"),
    "sulfide": Group("[SX2;!R;$(S([CX4,c])[CX4,c])]", "thioether linkage", "sulfide bridge"),
    "disulfide": Group("[SX2;$(S[#6])]-[SX2;$(S[#6])]", "disulfide linkage"),
    "sulfoxide": Group("[SX3;$(S([#6])[#6])]=O", "sulfoxide group"),
    "sulfone": Group("[SX4;$(S(=O)(=O)([#6])[#6])]", "sulfone group", "sulfonyl bridge"),
    "sulfonic": Group("[SX4;$(S(=O)(=O)([#6])[OX2;H1])]", "sulfonic acid group"),
    "sulfonate": Group("[SX4;$(S(=O)(=O)([#6])[OX1;-])]", "sulfonate group"),
    "sulfonate_ester": Group("[SX4;$(S(=O)(=O)([#6])[OX2][#6])]", "sulfonic ester group"),
    "sulfonamide": Group("[SX4;$(S(=O)(=O)([#6])[NX3])]", "sulfonamide group", "sulfonic amide group"),
    "sulfonyl_chloride": Group("[SX4;$(S(=O)(=O)([#6])Cl)]", "sulfonyl chloride group"),
    "thiocarbonyl": Group("[#6]=[SX1;$(S=[#6;!$(C=N)])]", "thiocarbonyl group"),
    "phosphate": Group("[PX4;$(P(=O)([OX2,OX1-])([OX2,OX1-])[OX2,OX1-])]", "phosphate group"),
    "phosphonate": Group("[PX4;$(P(=O)([#6])([OX2,OX1-])[OX2,OX1-])]", "phosphonate group"),
    "thiophosphate": Group("[PX4;$(P(=S)([OX2])([OX2])[OX2]),$(P(=O)([SX2])([OX2])[OX2])]", "phosphorothioate group"),
    "dithiophosphate": Group("[PX4;$(P(=S)([SX2])([OX2])[OX2])]", "phosphorodithioate group"),
    "phosphonium": Group("[PX4;+;$(P([#6])([#6])([#6])[#6])]", "phosphonium centre"),
    "sulfonium": Group("[SX3;+;$(S([#6])([#6])[#6])]", "sulfonium centre"),
    "phosphine": Group("[PX3;$(P([#6])([#6])[#6])]", "phosphine centre"),
    "boronic": Group("[BX3;$(B([#6])([OX2;H1])[OX2;H1])]", "boronic acid group"),
    "trimethylsilyl": Group("[SiX4;$([Si]([CX4;H3])([CX4;H3])[CX4;H3])]", "trimethylsilyl group"),
    "fluoro": Group("[F;$(F[#6])]", "fluoro substituent", "fluorine atom on carbon"),
    "chloro": Group("[Cl;$(Cl[#6])]", "chloro substituent", "chlorine atom on carbon"),
    "bromo": Group("[Br;$(Br[#6])]", "bromo substituent", "bromine atom on carbon"),
    "iodo": Group("[I;X1;$(I[#6])]", "iodo substituent", "iodine atom on carbon"),
    "trifluoromethyl": Group("[CX4;$(C(F)(F)(F)[#6])]", "trifluoromethyl group", "CF3 group"),
    "alkene": Group("[#6]=[#6]", "C=C double bond", "carbon-carbon double bond"),
    "alkyne": Group("[#6]#[#6]", "C≡C triple bond", "carbon-carbon triple bond"),
    "aryl_methyl": Group("[CX4;H3;$(Cc)]", "methyl group on an aromatic ring", "aromatic methyl group"),
    "ring_methyl": Group("[CX4;H3;$(C[C;R])]", "methyl group on a non-aromatic ring"),
    "n_methyl": Group("[CX4;H3;$(C[#7])]", "N-methyl group", "methyl group on nitrogen"),
    "tert_butyl": Group(
        "[CX4;H0;$(C([CX4;H3])([CX4;H3])([CX4;H3])[!$([CX4;H3])])]", "tert-butyl group", "tertiary butyl group"
    ),
    "isopropyl": Group("[CX4;H1;$(C([CX4;H3])([CX4;H3])[!$([CX4;H3])])]", "isopropyl group", "propan-2-yl group"),
    "ethoxy": Group("[CX4;H3][CX4;H2][OX2;$(O([CX4;H2])[#6;!$([#6]=[O,S])])]", "ethoxy group"),
    "dimethylamino": Group("[NX3;+0;$(N([CX4;H3])([CX4;H3])[#6;!H3;!$(C=[O,S])])]", "dimethylamino group"),
    "diethylamino": Group(
        "[NX3;+0;$(N([CX4;H2][CX4;H3])([CX4;H2][CX4;H3])[#6;!$([CX4;H2][CX4;H3]);!$(C=[O,S])])]", "diethylamino group"
    ),
    "acetyl": Group("[CX4;H3][CX3;$(C(=O)[#6;!H3])]", "acetyl group on carbon"),
    "vinyl": Group("[CX3;H2]=[CX3;H1]", "terminal vinyl group", "CH2=CH end group"),
    "guanidine": Group("[CX3;$(C([NX3])([NX3])=[NX2])]", "guanidine unit"),
    "amidine": Group("[CX3;$(C([#6])([NX3])=[NX2])]", "amidine unit"),
    "hydrazine": Group("[NX3;+0;!R]-[NX3;+0;!R]", "acyclic N-N single bond"),
    "hydrazone": Group("[#6;X3;$([#6][#6])]=[NX2;$(N[NX3])]", "hydrazone unit"),
    "imine": Group("[CX3;!R;$(C[#6]);!$(C[N,O,S])]=[NX2;!R;$(N[#6])]", "open-chain imine unit"),
    "nitroso": Group("[NX2;$(N[#6,#7])]=[OX1]", "nitroso group"),
    "phenyl": Group("[c;R1;H0;X3]1[c;H1][c;H1][c;H1][c;H1][c;H1]1", "phenyl group", "monosubstituted benzene ring"),
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
    "pteridine": "c1cnc2ncncc2n1",
    "phenazine": "c1ccc2nc3ccccc3nc2c1",
    "isoindoline": "C1NCc2ccccc21",
    "indoline": "C1Cc2ccccc2N1",
    "9,10-dihydroanthracene": "C1c2ccccc2Cc2ccccc21",
    "1,2-dihydronaphthalene": "C1CC=Cc2ccccc21",
    "1,4-dihydronaphthalene": "C1C=CCc2ccccc21",
    "cyclohexa-1,3-diene": "C1CC=CC=C1",
    "cyclohexa-1,4-diene": "C1C=CCC=C1",
    "cyclopentadiene": "C1C=CC=C1",
    "phthalane": "C1OCc2ccccc21",
    "2-pyrazoline": "C1CNN=C1",
    "2-imidazoline": "C1CN=CN1",
    "2,5-dihydrofuran": "C1C=CCO1",
    "3-pyrroline": "C1C=CCN1",
    "oxazolidine": "C1COCN1",
    "1,3-dioxane": "C1COCOC1",
    "1,3,5-triazinane": "C1NCNCN1",
    "hexahydropyrimidine": "C1CNCNC1",
    "tetrahydroisoquinoline": "C1NCCc2ccccc21",
    "chroman": "C1COc2ccccc2C1",
    "2H-chromene": "C1C=Cc2ccccc2O1",
    "indolizine": "c1ccn2cccc2c1",
    "chrysene": "c1ccc2c(c1)ccc1c3ccccc3ccc21",
    "benz[a]anthracene": "c1ccc2cc3c(ccc4ccccc43)cc2c1",
    "triphenylene": "c1ccc2c(c1)c1ccccc1c1ccccc21",
    "fluoranthene": "c1ccc2c(c1)-c1cccc3cccc-2c13",
    "acenaphthene": "C1Cc2cccc3cccc1c23",
    "hydrindane": "C1CCC2CCCC2C1",
    "pinane": "C1CC2CC(C1)C2",
    "bicyclo[2.2.2]octane": "C1CC2CCC1CC2",
    "cyclododecane": "C1CCCCCCCCCCC1",
    "2,3-dihydro-1,4-benzodiazepine": "C1CN=Cc2ccccc2N1",
    "1,4-benzodioxane": "C1COc2ccccc2O1",
    "1,2,3-triazole": "c1c[nH]nn1",
    "1,2,4-oxadiazole": "c1ncon1",
    "1,2,4-triazine": "c1cnncn1",
    "isothiazole": "c1cnsc1",
    "thiane": "C1CCSCC1",
    "1,3-dithiolane": "C1CSCS1",
    "dibenzothiophene": "c1ccc2c(c1)sc1ccccc12",
    "thioxanthene": "C1c2ccccc2Sc2ccccc21",
    "phenoxazine": "N1c2ccccc2Oc2ccccc21",
    "penam": "C1CN2CCC2S1",
    "cephem": "C1C=CN2CCC2S1",
    "azulene": "c1ccc2cccc-2cc1",
    "oxepane": "C1CCCOCC1",
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
    "iminodibenzyl": "C1Cc2ccccc2Nc2ccccc21",
}


class CounterPart(NamedTuple):
    """What comes with the organic part: its name, its word before the kind, and whether 'salt' follows that word."""

    name: str
    salt: str
    ionic: bool


COUNTERPARTS = {
    "[Na+]": CounterPart("sodium cation", "sodium", True),
    "[K+]": CounterPart("potassium cation", "potassium", True),
    "[Li+]": CounterPart("lithium cation", "lithium", True),
    "[NH4+]": CounterPart("ammonium cation", "ammonium", True),
    "[Ag+]": CounterPart("silver cation", "silver", True),
    "[Ca+2]": CounterPart("calcium cation", "calcium", True),
    "[Mg+2]": CounterPart("magnesium cation", "magnesium", True),
    "[Ba+2]": CounterPart("barium cation", "barium", True),
    "[Sr+2]": CounterPart("strontium cation", "strontium", True),
    "[Zn+2]": CounterPart("zinc cation", "zinc", True),
    "[Cu+2]": CounterPart("copper cation", "copper", True),
    "[Co+2]": CounterPart("cobalt cation", "cobalt", True),
    "[Ni+2]": CounterPart("nickel cation", "nickel", True),
    "[Mn+2]": CounterPart("manganese cation", "manganese", True),
    "[Pb+2]": CounterPart("lead cation", "lead", True),
    "[Al+3]": CounterPart("aluminium cation", "aluminium", True),
    "[Cr+3]": CounterPart("chromium cation", "chromium", True),
    "[Fe+3]": CounterPart("iron cation", "iron", True),
    "[F-]": CounterPart("fluoride anion", "fluoride", True),
    "[Cl-]": CounterPart("chloride anion", "chloride", True),
    "[Br-]": CounterPart("bromide anion", "bromide", True),
    "[I-]": CounterPart("iodide anion", "iodide", True),
    "[OH-]": CounterPart("hydroxide anion", "hydroxide", True),
    "[O-]Cl(=O)(=O)=O": CounterPart("perchlorate anion", "perchlorate", True),
    "[O-][Cl+3]([O-])([O-])[O-]": CounterPart("perchlorate anion", "perchlorate", True),
    "O=[N+]([O-])[O-]": CounterPart("nitrate anion", "nitrate", True),
    "F[B-](F)(F)F": CounterPart("tetrafluoroborate anion", "tetrafluoroborate", True),
    "F[P-](F)(F)(F)(F)F": CounterPart("hexafluorophosphate anion", "hexafluorophosphate", True),
    "O=S(=O)([O-])O": CounterPart("hydrogensulfate anion", "hydrogensulfate", True),
    "O=S(=O)([O-])[O-]": CounterPart("sulfate anion", "sulfate", True),
    "COS(=O)(=O)[O-]": CounterPart("methyl sulfate anion", "methyl sulfate", True),
    "Cc1ccc(S(=O)(=O)[O-])cc1": CounterPart("tosylate anion", "tosylate", True),
    "O=P([O-])([O-])[O-]": CounterPart("phosphate anion", "phosphate", True),
    "Cl": CounterPart("hydrogen chloride molecule", "hydrochloride", False),
    "Br": CounterPart("hydrogen bromide molecule", "hydrobromide", False),
    "I": CounterPart("hydrogen iodide molecule", "hydroiodide", False),
    "O=S(=O)(O)O": CounterPart("sulfuric acid molecule", "sulfate", False),
    "O=P(O)(O)O": CounterPart("phosphoric acid molecule", "phosphate", False),
    "O=[N+]([O-])O": CounterPart("nitric acid molecule", "nitrate", False),
    "O": CounterPart("water molecule", "hydrate", False),
    "N": CounterPart("ammonia molecule", "ammonium", True),
    "CC(=O)O": CounterPart("acetic acid molecule", "acetate", False),
    "CS(=O)(=O)O": CounterPart("methanesulfonic acid molecule", "mesylate", False),
    "O=C(O)C(=O)O": CounterPart("oxalic acid molecule", "oxalate", False),
    "OCCN(CCO)CCO": CounterPart("triethanolamine molecule", "triethanolamine", True),
    "OCCNCCO": CounterPart("diethanolamine molecule", "diethanolamine", True),
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
    **{
        f"organo_{e}": f"[{e};$([{e}]~[#6])]" for e in ("Si", "B", "Sn", "Se", "Ge", "As", "Hg", "Pb", "Te", "Sb", "Bi")
    },
    **{f"acid_{k}": v for k, v in _acyl_side(_ACID_OH).items()},
    **{f"ester_{k}": v for k, v in _acyl_side(_ESTER_O).items()},
    **{f"amide_{k}": v for k, v in _acyl_side(_AMIDE_N).items()},
    "ester_of_primary": _alkyl_side("[CX4;H2][#6]"),
    "ester_of_secondary": _alkyl_side("[CX4;H1]([#6])[#6]"),
    "ester_of_tertiary": _alkyl_side("[CX4;H0]([#6])([#6])[#6]"),
    "ester_of_phenol": _alkyl_side("c1ccccc1"),
    "amide_of_aryl": f"[c;$(c[NX3;H1]!@{_ACYL}=O)]",
    "aryl_aldehyde": "[CX3;H1;$(Cc)]=O",
    "aryl_ketone": "[CX3;$(C(c)[#6])]=[OX1]",
    "ring_ketone": "[CX3;R;$(C([#6])[#6])]=[OX1]",
    "aryl_ether": f"[OX2;!R;$(O(c){_OUT})]",
    "ring_ether": "[OX2;R;$(O([#6])[#6])]",
    "aryl_nitro": "[NX3;+;$(Nc)](=O)[OX1;-]",
    "aryl_halogen": "[F,Cl,Br,I;X1;$(*c)]",
    "aryl_thiol": "[SX2;H1;$(Sc)]",
    "hydroxy": "[OX2;H1;$(O[#6;!$(C=[O,S])])]",
    "carbon_nitrile": "[CX2;$(C[#6])]#[NX1]",
    "bonded_sulfur": "[#16;$([#16]~[#6])]",
    "bonded_nitrogen": "[#7;$([#7]~[#6])]",
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
