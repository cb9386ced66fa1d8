"""Random texts and molecules for tests of backbones, as vectors, tokens or graphs, in batches of any rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from class_kit.backbones.base import GraphBatch, MoleculeBatch, Needs, TextBatch, TokenBatch

TEXT_DIM, MOLECULE_DIM, BOND_DIM, PAIRS = 24, 20, 12, 64


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
        return GraphBatch(
            atoms=torch.cat([one.atoms for one in chosen]),
            atom_molecule=torch.cat([one.atom_molecule + at for at, one in enumerate(chosen)]),
            bonds=torch.cat([one.bonds + shift for one, shift in zip(chosen, atoms, strict=False)], 1),
            bond_features=torch.cat([one.bond_features for one in chosen]),
            motif_atoms=torch.cat(
                [
                    one.motif_atoms + torch.tensor([[atom], [motif]])
                    for one, atom, motif in zip(chosen, atoms, motifs, strict=False)
                ],
                1,
            ),
            motif_molecule=torch.cat([one.motif_molecule + at for at, one in enumerate(chosen)]),
            size=len(rows),
        )

    def batch(self, rows: list[int]) -> tuple[TextBatch, MoleculeBatch]:
        return self.text(rows), self.molecule(rows)


def random_graph(atoms: int, generator: torch.Generator) -> GraphBatch:
    """A chain of atoms, closed to a ring from five on; its motifs are both halves, which share the middle atom."""
    steps = [(at, at + 1) for at in range(atoms - 1)] + ([(atoms - 1, 0)] if atoms >= 5 else [])
    directed = [pair for step in steps for pair in (step, step[::-1])]
    features = torch.randint(0, 2, (len(steps), BOND_DIM), generator=generator).float().repeat_interleave(2, 0)
    middle = atoms // 2
    members = [(atom, 0) for atom in range(middle + 1)] + [(atom, 1) for atom in range(middle, atoms) if atoms > 1]
    return GraphBatch(
        atoms=torch.randn(atoms, MOLECULE_DIM, generator=generator) + 0.5,
        atom_molecule=torch.zeros(atoms, dtype=torch.int64),
        bonds=torch.tensor(directed, dtype=torch.int64).reshape(-1, 2).T,
        bond_features=features,
        motif_atoms=torch.tensor(members, dtype=torch.int64).T,
        motif_molecule=torch.zeros(1 if atoms == 1 else 2, dtype=torch.int64),
        size=1,
    )


def random_pairs(needs: Needs) -> Pairs:
    """64 pairs; the first is a text of one token and a molecule of one atom."""
    generator = torch.Generator().manual_seed(7)
    lengths = [1, *torch.randint(2, 9, (PAIRS - 1,), generator=generator).tolist()]
    texts = []
    for length in lengths:
        tokens = torch.randn(length, TEXT_DIM, generator=generator)
        texts.append((tokens.mean(0) + 0.3 * torch.randn(TEXT_DIM, generator=generator), tokens))
    molecules = [random_graph(length, generator) for length in lengths]
    return Pairs(needs, texts, molecules)
