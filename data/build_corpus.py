"""Write data/corpus.csv: real molecules, descriptions generated from their structure.

    python data/build_corpus.py [OUTPUT]

The molecules come from the PyPI package `chemicals` (1.5.2, MIT licence); the descriptions are written by
`corpus_wording.py` from what RDKit perceives. The same package versions give the same bytes.
"""

from __future__ import annotations

import csv
import importlib.util
import io
import os
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

from corpus_chemistry import facts_of
from corpus_wording import describe, stable_number, wordpieces
from rdkit import Chem, RDLogger
from rdkit.Chem.Scaffolds import MurckoScaffold

N_MOLECULES = 4400
SEED = "class_kit corpus 1"
SIZES = range(4, 46)
FAMILY_CAP = 8
DESCRIBED_ALIKE = 50
MIN_PIECES = 25
MAX_PIECES = 60
ELEMENTS = {
    "H",
    "B",
    "C",
    "N",
    "O",
    "F",
    "Si",
    "P",
    "S",
    "Cl",
    "Ge",
    "As",
    "Se",
    "Br",
    "Sn",
    "Sb",
    "Te",
    "I",
    "Hg",
    "Pb",
    "Bi",
}
COLUMNS = ("id", "smiles", "description", "split", "class")


class Row(NamedTuple):
    id: str
    smiles: str
    description: str
    split: str
    label: str


class Entry(NamedTuple):
    cid: str
    smiles: str
    names: tuple[str, ...]


def source_files() -> list[Path]:
    spec = importlib.util.find_spec("chemicals")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the package `chemicals` is not installed: pip install chemicals==1.5.2")
    folder = Path(spec.submodule_search_locations[0]) / "Identifiers"
    return [
        folder / f"chemical identifiers {name}.tsv" for name in ("pubchem large", "pubchem small", "example user db")
    ]


def entries() -> Iterator[Entry]:
    """Molecules of the package in canonical form, each CID and each structure once."""
    seen: set[str] = set()
    for path in source_files():
        for line in path.read_text(encoding="utf-8").splitlines():
            cid, _, _, _, smiles, _, _, *names = line.split("\t")
            mol = Chem.MolFromSmiles(smiles) if cid.isdigit() and cid not in seen else None
            if mol is None or not usable(mol):
                continue
            canonical = Chem.MolToSmiles(mol)
            if canonical not in seen and Chem.MolFromSmiles(canonical) is not None:
                seen |= {cid, canonical}
                yield Entry(cid, canonical, tuple(names))


def usable(mol: Chem.Mol) -> bool:
    """Sizes that suit a short description, closed shells, known elements, charges where organic chemistry has them."""
    return mol.GetNumHeavyAtoms() in SIZES and all(
        a.GetNumRadicalElectrons() == 0 and (a.GetFormalCharge() == 0 or ordinary_charge(a)) for a in mol.GetAtoms()
    )


def ordinary_charge(atom: Chem.Atom) -> bool:
    return atom.GetSymbol() not in ("C", "P", "S") or (atom.GetSymbol() != "C" and atom.GetFormalCharge() == 1)


def flat_smiles(smiles: str) -> str:
    """Canonical SMILES without stereochemistry: what the splits must not share."""
    return Chem.MolToSmiles(Chem.MolFromSmiles(smiles), isomericSmiles=False)


def family(smiles: str) -> str:
    """Near relatives share a family: the largest part's ring scaffold, and its atoms other than carbon and hydrogen.

    Homologues, positional isomers, stereoisomers and salts of one parent come together in it.
    """
    mol = Chem.MolFromSmiles(max(smiles.split("."), key=len))
    Chem.RemoveStereochemistry(mol)
    scaffold = Chem.MolToSmiles(MurckoScaffold.GetScaffoldForMol(mol))
    hetero = Counter(a.GetSymbol() for a in mol.GetAtoms() if a.GetAtomicNum() not in (1, 6))
    return f"{scaffold} {sorted(hetero.items())}"


def gives_name_away(description: str, names: tuple[str, ...]) -> bool:
    text = description.lower()
    return any(len(n) > 3 and re.search(rf"(?<!\w){re.escape(n.lower())}(?!\w)", text) for n in names)


def description_of(entry: Entry, key: str) -> tuple[str, str] | None:
    """Class and description; None where the vocabulary does not cover the molecule or the text would name it."""
    facts = facts_of(entry.smiles)
    if facts is None or set(facts.elements) - ELEMENTS:
        return None
    alike = stable_number(SEED, "alike", entry.smiles) % 100 < DESCRIBED_ALIKE
    told = describe(facts, key if alike else entry.smiles)
    return (
        told
        if told and MIN_PIECES <= wordpieces(told[1]) <= MAX_PIECES and not gives_name_away(told[1], entry.names)
        else None
    )


def share_kept(smiles: str) -> int:
    """Percentage of families kept by size: small molecules abound in the source, and their texts are much alike."""
    mol = Chem.MolFromSmiles(smiles)
    atoms = mol.GetNumHeavyAtoms()
    if all(a.GetAtomicNum() in (1, 6) for a in mol.GetAtoms()):
        return 30
    return 100 if atoms >= 18 else 60 if atoms >= 12 else 20


def select() -> list[tuple[Entry, str, str]]:
    """Whole families in seeded order, so that near-duplicates occur as they do in curated data."""
    families: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries():
        families[family(entry.smiles)].append(entry)
    chosen: list[tuple[Entry, str, str]] = []
    for key in sorted(families, key=lambda k: stable_number(SEED, k)):
        if stable_number(SEED, "size", key) % 100 >= share_kept(families[key][0].smiles):
            continue
        members = sorted(families[key], key=lambda e: stable_number(SEED, e.smiles))
        told = [(entry, *t) for entry in members[: 2 * FAMILY_CAP] if (t := description_of(entry, key))]
        chosen += told[:FAMILY_CAP]
        if len(chosen) >= N_MOLECULES:
            break
    return chosen[:N_MOLECULES]


def with_splits(chosen: list[tuple[Entry, str, str]]) -> list[Row]:
    """80/10/10 by stereo-free structure, so that stereoisomers stay on one side."""
    flat = {entry.smiles: flat_smiles(entry.smiles) for entry, _, _ in chosen}
    sizes = Counter(flat.values())
    split, placed = {}, 0
    for structure in sorted(sizes, key=lambda s: stable_number(SEED, "split", s)):
        share = placed / len(chosen)
        split[structure] = "test" if share < 0.1 else "validation" if share < 0.2 else "train"
        placed += sizes[structure]
    rows = [Row(e.cid, e.smiles, text, split[flat[e.smiles]], label) for e, label, text in chosen]
    return sorted(rows, key=lambda row: int(row.id))


def as_csv(rows: list[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(rows)
    return buffer.getvalue()


def main(output: Path) -> None:
    RDLogger.DisableLog("rdApp.*")
    rows = with_splits(select())
    temporary = output.with_name(output.name + ".partial")
    with temporary.open("w", encoding="utf-8", newline="") as handle:
        handle.write(as_csv(rows))
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, output)
    print(f"{output}: {len(rows)} molecules")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("corpus.csv"))
