"""Texts and molecules for tests of backbones, as vectors, tokens or graphs, in batches of any rows."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from class_kit.backbones.base import Backbone, GraphBatch, MoleculeBatch, Needs, TextBatch, TokenBatch
from class_kit.inputs import Inputs, Ragged, as_inputs, offsets_of
from class_kit.molecules import Mol2vecVectors, embed_molecules, mol2vec_sentences
from class_kit.molecules.graphs import molecule_graphs
from class_kit.text.tokens import TextTokens

CORPUS = Path(__file__).parents[1] / "data" / "corpus.csv"
TEXT_DIM, MOLECULE_DIM, BOND_DIM, PAIRS = 24, 20, 12, 64


def token_batch(lengths: list[int], width: int, seed: int = 0) -> TokenBatch:
    """Texts of so many random tokens."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    tokens = torch.randn(*mask.shape, width, generator=generator) * mask[..., None]
    return TokenBatch(torch.randn(len(lengths), width, generator=generator), tokens, mask)


def graph_batch(motifs: list[list[int]], width: int, bond_dim: int = BOND_DIM, seed: int = 0) -> GraphBatch:
    """One molecule for each list of motif sizes; motifs follow each other along a chain and share their end atoms."""
    generator = torch.Generator().manual_seed(seed)
    owner, steps, members, homes = [], [], [], []
    for molecule, sizes in enumerate(motifs):
        start = len(owner)
        for number, size in enumerate(sizes):
            first = len(owner) - (1 if number else 0)
            owner += [molecule] * (size - (1 if number else 0))
            members += [(atom, len(homes)) for atom in range(first, first + size)]
            homes.append(molecule)
        steps += [(atom, atom + 1) for atom in range(start, len(owner) - 1)]
    directed = [pair for step in steps for pair in (step, step[::-1])]
    return GraphBatch(
        atoms=torch.randn(len(owner), width, generator=generator),
        atom_molecule=torch.tensor(owner),
        bonds=torch.tensor(directed, dtype=torch.int64).reshape(-1, 2).T,
        bond_features=torch.randint(0, 2, (len(steps), bond_dim), generator=generator).float().repeat_interleave(2, 0),
        motif_atoms=torch.tensor(members).T,
        motif_molecule=torch.tensor(homes),
        size=len(motifs),
    )


def pair_scores(backbone: Backbone, text: TextBatch, molecules: MoleculeBatch) -> Tensor:
    """Full scores `(B,)` of a batch of pairs."""
    return backbone.part_scores(backbone.pair_parts("text", text), backbone.pair_parts("molecules", molecules))


@dataclass(frozen=True)
class Pairs:
    """Random texts and molecules of the corpus, in batches of any rows as a backbone reads them."""

    texts: Inputs
    molecules: Inputs

    def text(self, rows: list[int], device: str = "cpu") -> TextBatch:
        return self.texts.take(np.array(rows), device)

    def molecule(self, rows: list[int], device: str = "cpu") -> MoleculeBatch:
        return self.molecules.take(np.array(rows), device)

    def batch(self, rows: list[int], device: str = "cpu") -> tuple[TextBatch, MoleculeBatch]:
        return self.text(rows, device), self.molecule(rows, device)


@lru_cache
def random_pairs(needs: Needs) -> Pairs:
    """64 pairs; the first is a text of one token and a molecule of one atom."""
    rng = np.random.default_rng(7)
    lengths = np.array([1, *rng.integers(2, 9, PAIRS - 1)])
    tokens = Ragged(rng.normal(size=(lengths.sum(), TEXT_DIM)).astype(np.float32), offsets_of(lengths))
    sentences = rng.normal(size=(PAIRS, TEXT_DIM)).astype(np.float32)
    with open(CORPUS, encoding="utf-8", newline="") as file:
        small = [row["smiles"] for row in csv.DictReader(file) if len(row["smiles"]) < 20]
    # of molecules with the same words one, since they have the same vector
    apart = [*{tuple(sorted(words)): one for one, words in zip(small, mol2vec_sentences(small), strict=True)}.values()]
    smiles = ["O", *apart[:: len(apart) // PAIRS][1:PAIRS]]
    names = sorted({"UNK"}.union(*mol2vec_sentences(smiles)))
    words = Mol2vecVectors(tuple(names), rng.normal(size=(len(names), MOLECULE_DIM)).astype(np.float32), "a test")
    texts = as_inputs(sentences) if needs.text == "sentence" else TextTokens(np.arange(PAIRS), "", tokens, sentences)
    if needs.molecules == "vector":
        return Pairs(texts, as_inputs(embed_molecules(smiles, vectors=words, cache=False)))
    return Pairs(texts, molecule_graphs(smiles, vectors=words, cache=False))
