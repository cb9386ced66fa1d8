"""Random texts and molecules for tests of backbones, as vectors, tokens or graphs, in batches of any rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from class_kit.backbones.base import Backbone, GraphBatch, MoleculeBatch, Needs, TextBatch, TokenBatch

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
    """Random texts and molecules, kept one by one, so that a batch of any rows is built independently of all others."""

    needs: Needs
    texts: list[tuple[Tensor, Tensor]]
    molecules: list[GraphBatch]

    def text(self, rows: list[int]) -> TextBatch:
        sentence = torch.stack([self.texts[row][0] for row in rows])
        if self.needs.text == "sentence":
            return sentence
        chosen = [self.texts[row][1] for row in rows]
        longest = max(map(len, chosen))
        tokens, mask = torch.zeros(len(rows), longest, TEXT_DIM), torch.zeros(len(rows), longest, dtype=torch.bool)
        for at, one in enumerate(chosen):
            tokens[at, : len(one)], mask[at, : len(one)] = one, True
        return TokenBatch(sentence, tokens, mask)

    def molecule(self, rows: list[int]) -> MoleculeBatch:
        chosen = [self.molecules[row] for row in rows]
        if self.needs.molecules == "vector":
            return torch.stack([one.atoms.sum(0) for one in chosen])
        atoms = [0]
        motifs = [0]
        for one in chosen:
            atoms.append(atoms[-1] + len(one.atoms))
            motifs.append(motifs[-1] + len(one.motif_molecule))
        numbered = list(enumerate(zip(chosen, atoms, motifs, strict=False)))
        return GraphBatch(
            atoms=torch.cat([one.atoms for one in chosen]),
            atom_molecule=torch.cat([one.atom_molecule + at for at, (one, _, _) in numbered]),
            bonds=torch.cat([one.bonds + atom for _, (one, atom, _) in numbered], 1),
            bond_features=torch.cat([one.bond_features for one in chosen]),
            motif_atoms=torch.cat([one.motif_atoms + torch.tensor([[a], [m]]) for _, (one, a, m) in numbered], 1),
            motif_molecule=torch.cat([one.motif_molecule + at for at, (one, _, _) in numbered]),
            size=len(rows),
        )

    def batch(self, rows: list[int]) -> tuple[TextBatch, MoleculeBatch]:
        return self.text(rows), self.molecule(rows)


def random_pairs(needs: Needs) -> Pairs:
    """64 pairs; the first is a text of one token and a molecule of one atom."""
    generator = torch.Generator().manual_seed(7)
    lengths = [1, *torch.randint(2, 9, (PAIRS - 1,), generator=generator).tolist()]
    texts = []
    for length in lengths:
        tokens = torch.randn(length, TEXT_DIM, generator=generator)
        texts.append((tokens.mean(0) + 0.3 * torch.randn(TEXT_DIM, generator=generator), tokens))
    halves = [[length] if length < 3 else [length // 2 + 1, length - length // 2] for length in lengths]
    return Pairs(needs, texts, [graph_batch([sizes], MOLECULE_DIM, seed=row) for row, sizes in enumerate(halves)])
