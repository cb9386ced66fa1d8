"""Cross-modal denoising: its terms against a loop, what it spoils, and whom it trains."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from class_kit.backbones import create_backbone
from class_kit.backbones.denoising import corrupt
from class_kit.backbones.parts import items_of_molecules, items_of_text
from tests.attention_loops import (
    ATOM,
    INNER,
    SMALL,
    TEXT,
    attended,
    in_double,
    linear,
    made,
    norm,
    rows_of,
    some_parts,
    some_vectors,
    two_layers,
)


@pytest.mark.parametrize("reads", ["inner", "parts"])
@pytest.mark.parametrize("corruption", ["mask", "noise"])
def test_denoising_equals_a_loop(reads: str, corruption: str) -> None:
    given = some_vectors() if reads == "inner" else some_parts()
    model = made("denoising", given, inner_options=INNER, reads=reads, corruption=corruption, share=0.4, **SMALL).eval()
    text, molecules = in_double(*given)
    terms = model.losses(text, molecules)
    inner = model.inner.losses(model.inner_text(text), model.inner_molecules(molecules))
    assert list(terms) == [*inner, "denoise_text", "denoise_molecule"]
    for name, term in inner.items():
        assert torch.equal(terms[name], term)
    tokens, atoms = (
        rows_of(items_of_text(text), model.text_scale),
        rows_of(items_of_molecules(molecules), model.molecule_scale),
    )
    for name, denoiser, clean, other, encoded in (
        ("denoise_text", model.text_denoiser, tokens, atoms, model.encode_molecules(molecules)),
        ("denoise_molecule", model.molecule_denoiser, atoms, tokens, model.encode_text(text)),
    ):
        for pair in range(4):
            memory = [linear(denoiser.encoded, encoded[pair].detach().numpy()) for _ in other[pair]]
            if reads == "parts":
                memory = [one + linear(denoiser.part, item) for one, item in zip(memory, other[pair], strict=True)]
            errors = []
            for item in clean[pair]:
                width = len(item)
                if corruption == "mask":
                    touched = [round((at + 1) * 0.4) > round(at * 0.4) for at in range(width)]
                    spoilt = np.where(touched, 0.0, item)
                else:
                    touched, spoilt = [True] * width, math.sqrt(0.6) * item
                query = linear(denoiser.item, spoilt)
                state = norm(denoiser.norm, query + attended(denoiser.attention, query, memory))
                restored = two_layers(denoiser.restore, state)
                errors += [(restored[at] - item[at]) ** 2 for at in range(width) if touched[at]]
            assert terms[name][pair].item() == pytest.approx(np.mean(errors), rel=1e-9), name


def test_corruption_is_what_it_says() -> None:
    torch.manual_seed(0)
    clean = torch.randn(400, 50)
    spoilt, touched = corrupt(clean, "mask", 0.3, draw=True)
    assert touched.float().mean().item() == pytest.approx(0.3, abs=0.01)
    assert not spoilt[touched].any()
    assert torch.equal(spoilt[~touched], clean[~touched])
    assert not torch.equal(touched[0], touched[1])
    still, same_ones = corrupt(clean, "mask", 0.3, draw=False)
    assert same_ones.sum(1).tolist() == [15] * 400
    assert torch.equal(corrupt(clean, "mask", 0.3, draw=False)[0], still)
    assert corrupt(clean, "mask", 1.0, draw=False)[1].all()
    noisy, everything = corrupt(clean, "noise", 0.3, draw=True)
    assert everything.all()
    assert noisy.std().item() == pytest.approx(clean.std().item(), rel=0.02)
    assert np.corrcoef(noisy.flatten(), clean.flatten())[0, 1] == pytest.approx(math.sqrt(0.7), abs=0.01)


def test_denoising_trains_the_encoders_through_the_other_side_alone() -> None:
    text, molecules = some_vectors()
    torch.manual_seed(0)
    model = create_backbone("denoising", TEXT, ATOM, inner_options=INNER, **SMALL)
    model.fit_inputs(text, molecules)
    for name, moved, still in (
        ("denoise_text", model.inner.molecule_tower, model.inner.text_tower),
        ("denoise_molecule", model.inner.text_tower, model.inner.molecule_tower),
    ):
        model.zero_grad()
        model.losses(text, molecules)[name].sum().backward()
        assert all(parameter.grad.any() for parameter in moved.parameters() if parameter.ndim > 1)
        assert all(parameter.grad is None for parameter in still.parameters())
    # what is restored is no parameter's to change, even where the inputs are trained
    text.requires_grad_()
    model.share = 1.0
    (gradient,) = torch.autograd.grad(model.losses(text, molecules)["denoise_text"].sum(), text)
    assert not gradient.any()
