"""Distillation: the teacher's and the imitation's terms against a loop, who learns from whom, and who ranks."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from class_kit.backbones import create_backbone
from class_kit.backbones.distillation import wrong_partners
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
@pytest.mark.parametrize("training", [False, True])
def test_distillation_equals_a_loop(reads: str, training: bool) -> None:
    given = some_vectors() if reads == "inner" else some_parts()
    options: dict[str, Any] = {"student_options": INNER, "reads": reads, "negatives": 2, "dropout": 0.0, "weight": 0.5}
    model = made("distillation", given, **options, **SMALL).train(training)
    text, molecules = in_double(*given)
    teacher = model.teacher
    tokens = rows_of(items_of_text(text), teacher.text_items.scale)
    atoms = rows_of(items_of_molecules(molecules), teacher.molecule_items.scale)
    tokens = [[linear(teacher.text_items.layers[0], one) for one in row] for row in tokens]
    atoms = [[linear(teacher.molecule_items.layers[0], one) for one in row] for row in atoms]

    def met(i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        read = [norm(teacher.text_norm, x + attended(teacher.text_reads, x, atoms[j])) for x in tokens[i]]
        back = [norm(teacher.molecule_norm, y + attended(teacher.molecule_reads, y, tokens[i])) for y in atoms[j]]
        t, m = two_layers(teacher.text_head, np.mean(read, 0)), two_layers(teacher.molecule_head, np.mean(back, 0))
        return t / np.linalg.norm(t), m / np.linalg.norm(m)

    own = [met(i, i) for i in range(4)]
    scale = math.exp(model.scale.log_scale.item())
    blocked = torch.zeros(4, 4, dtype=torch.bool)
    blocked[0, 2] = blocked[3, 1] = True
    for near in (None, blocked):
        torch.manual_seed(5)
        shifts = wrong_partners(4, 2 if training else None).tolist()
        assert len(shifts) == (2 if training else 3)
        torch.manual_seed(5)
        terms = model.losses(text, molecules, not_negative=near)

        def allowed(i: int, j: int, near=near) -> bool:
            return near is None or not near[i, j]

        for i in range(4):
            right = scale * own[i][0] @ own[i][1]
            forward = [scale * own[i][0] @ own[k][1] for k in range(4) if k == i or allowed(i, k)]
            backward = [scale * own[k][0] @ own[i][1] for k in range(4) if k == i or allowed(k, i)]
            for shift in shifts:
                j, k = (i + shift) % 4, (i - shift) % 4
                forward += [scale * np.dot(*met(i, j))] if allowed(i, j) else []
                backward += [scale * np.dot(*met(k, i))] if allowed(k, i) else []
            for name, found in (("teacher_text_to_molecule", forward), ("teacher_molecule_to_text", backward)):
                expected = math.log(sum(map(math.exp, found))) - right
                assert terms[name][i].item() == pytest.approx(expected, rel=1e-8, abs=1e-10), name
            a, b = model.encode_text(text)[i].detach().numpy(), model.encode_molecules(molecules)[i].detach().numpy()
            assert terms["imitate_text"][i].item() == pytest.approx(0.5 * (1 - a @ own[i][0]), rel=1e-8)
            assert terms["imitate_molecule"][i].item() == pytest.approx(0.5 * (1 - b @ own[i][1]), rel=1e-8)


def test_the_student_imitates_and_the_teacher_does_not() -> None:
    torch.manual_seed(0)
    model = create_backbone("distillation", TEXT, ATOM, student_options=INNER, **SMALL)
    model.fit_inputs(*some_parts())
    terms = model.losses(*some_parts())
    for names, moved, still in (
        (("imitate_text", "imitate_molecule"), model.inner, model.teacher),
        (("teacher_text_to_molecule", "teacher_molecule_to_text"), model.teacher, model.inner),
    ):
        model.zero_grad()
        sum(terms[name].sum() for name in names).backward(retain_graph=True)
        assert all(parameter.grad is None for parameter in still.parameters())
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in moved.parameters())


def test_who_ranks_again() -> None:
    student = made("distillation", some_parts(), student_options=INNER, **SMALL).eval()
    teacher = made("distillation", some_parts(), student_options=INNER, score="teacher", **SMALL).eval()
    assert (student.reranks, teacher.reranks) == (False, True)
    text, molecules = in_double(*some_parts())
    with pytest.raises(NotImplementedError):
        student.pair_scores(text, molecules)
    t, m = teacher.teacher(
        *teacher.teacher.items(items_of_text(text), items_of_molecules(molecules)), (torch.arange(4),) * 2
    )
    torch.testing.assert_close(teacher.pair_scores(text, molecules), (t * m).sum(1))


def test_wrong_partners_are_other_pairs_and_differ() -> None:
    assert wrong_partners(5, None).tolist() == wrong_partners(5, 9).tolist() == [1, 2, 3, 4]
    assert wrong_partners(1, 3).tolist() == []
    torch.manual_seed(0)
    drawn = [tuple(wrong_partners(9, 3).tolist()) for _ in range(200)]
    assert all(len(set(some)) == 3 and min(some) >= 1 and max(some) <= 8 for some in drawn)
    assert {shift for some in drawn for shift in some} == set(range(1, 9))
