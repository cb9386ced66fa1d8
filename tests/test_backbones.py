"""The registry, and what the training loop and the evaluation may count on, checked for every registered backbone."""

import io
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from class_kit.backbones import available_backbones, backbone_needs, create_backbone, register_backbone
from class_kit.backbones.base import Backbone, MoleculeBatch, Needs, TextBatch, TokenBatch, TwoTowers
from tests.backbone_pairs import MOLECULE_DIM, PAIRS, TEXT_DIM, Pairs, pair_scores, random_pairs
from tests.refusals import refuses
from tests.test_training import WithCritic

# One entry for each kind of inputs that a backbone can be made to read, small enough to learn 32 pairs in seconds.
SMALL: dict[str, Any] = {"hidden": 64, "dim": 32}
GCN: dict[str, Any] = {"molecule_encoder": "gcn", **SMALL}
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "dual_encoder": [SMALL],
    "text2mol": [SMALL, GCN],
    "moleculestm": [SMALL, {**SMALL, "hidden": 0}],
    "dsokr": [{"hidden": 64, "dim": 16, "sketch": 64}],
    "denoising": [
        {"inner": "text2mol", "inner_options": GCN, "width": 32},
        {"inner_options": SMALL, "width": 32},
    ],
    "aman": [{**SMALL, "layers": 2}, {**SMALL, "layers": 1, "mining": "hardest"}],
    "orma": [{**SMALL, "layers": 2}, {**SMALL, "layers": 1, "matching": "tokens"}],
    # reads token ids, which have tests of their own
    "finetuned": [],
}
LEARNING_RATE, STEPS, LOOK_EVERY = 3e-3, 300, 25


@dataclass(frozen=True)
class Case:
    name: str
    options: dict[str, Any]

    def create(self, seed: int = 0) -> Backbone:
        torch.manual_seed(seed)
        return create_backbone(self.name, TEXT_DIM, MOLECULE_DIM, **self.options)

    def __str__(self) -> str:
        words = (f"{value}" for value in self.options.values() if value == 0 or isinstance(value, str))
        return "-".join([self.name, *words])


CASES = [Case(name, options) for name in available_backbones() for options in OPTIONS.get(name, [{}])]


@pytest.fixture(scope="module", params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


@pytest.fixture(scope="module")
def pairs(case: Case) -> Pairs:
    """64 pairs; the first is a text of one token and a molecule of one atom."""
    return random_pairs(backbone_needs(case.name, **case.options))


ALL, FEW = list(range(PAIRS)), list(range(32))


def fitted(case: Case, pairs: Pairs, seed: int = 0) -> Backbone:
    backbone = case.create(seed)
    backbone.fit_inputs(*pairs.batch(ALL))
    return backbone


def optimizers(backbone: Backbone) -> tuple[torch.optim.Optimizer, torch.optim.Optimizer | None]:
    critic = list(backbone.critic_parameters())
    rest = [one for one in trainable(backbone) if all(one is not other for other in critic)]
    main = torch.optim.AdamW(rest, lr=LEARNING_RATE)
    return main, torch.optim.Adam(critic, lr=1e-3, betas=(0.5, 0.9)) if critic else None


def trainable(backbone: Backbone) -> list[torch.nn.Parameter]:
    return [parameter for parameter in backbone.parameters() if parameter.requires_grad]


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([term.mean() for term in terms.values()]).sum()


def step(
    backbone: Backbone,
    text: TextBatch,
    molecules: MoleculeBatch,
    main: torch.optim.Optimizer,
    critic: torch.optim.Optimizer | None,
) -> float:
    """One step as the training loop takes it: the critic's first, then everything else's."""
    if critic is not None:
        for _ in range(backbone.critic_steps):
            critic.zero_grad(set_to_none=True)
            total(backbone.critic_losses(text, molecules)).backward()
            critic.step()
    loss = total(backbone.losses(text, molecules))
    main.zero_grad(set_to_none=True)
    loss.backward()
    main.step()
    return loss.item()


@torch.no_grad()
def retrieved(backbone: Backbone, pairs: Pairs) -> float:
    """Share of the first texts whose own molecule comes first, by the full score where there is one."""
    backbone.eval()
    text, molecules = pairs.batch(FEW)
    if backbone.reranks:
        scores = torch.stack([pair_scores(backbone, text, pairs.molecule([row] * len(FEW))) for row in FEW], 1)
    else:
        a, b = backbone.encode_text(text), backbone.encode_molecules(molecules)
        scores = torch.nn.functional.normalize(a, dim=-1) @ torch.nn.functional.normalize(b, dim=-1).T
    backbone.train()
    return (scores.argmax(1) == torch.arange(len(FEW))).float().mean().item()


def test_registry_names_what_there_is() -> None:
    assert OPTIONS.keys() <= set(available_backbones())
    with pytest.raises(ValueError, match=r"'nope' is unknown; available: .*dual_encoder"):
        create_backbone("nope", 3, 4)
    with pytest.raises(ValueError, match="does not take the options"):
        create_backbone("dual_encoder", 3, 4, depth=9)
    assert backbone_needs("text2mol") == Needs("sentence", "vector")
    assert backbone_needs("text2mol", molecule_encoder="gcn") == Needs("sentence", "graph")


def test_users_can_register_their_own() -> None:
    register_backbone("own")(WithCritic)
    assert "own" in available_backbones()
    assert isinstance(create_backbone("own", 3, 4), WithCritic)
    with pytest.raises(ValueError, match="'own' is registered already"):
        register_backbone("own")(TwoTowers)


REFUSED: dict[str, list[tuple[dict[str, Any], str]]] = {
    "dual_encoder": [({"hidden": 0}, "hidden=0"), ({"dropout": 1.0}, r"dropout=1\.0")],
    "text2mol": [({"molecule_encoder": "transformer"}, "molecule_encoder='transformer'.*mlp, gcn")],
    "moleculestm": [({"hidden": -1}, "hidden=-1")],
    "memory_bank": [({"heads": 5}, "heads=5: expected a divisor of dim=256"), ({"slots": 0}, "slots=0")],
    "dsokr": [({"sketch": 50, "dim": 60}, "sketch=50.*at least 60")],
    "aman": [
        ({"heads": 3}, "heads=3: expected a divisor of hidden=256"),
        ({"mining": "random"}, "mining='random': expected one of soft, hardest"),
    ],
    "orma": [
        ({"alpha": 0.7, "beta": 0.4}, r"alpha=0\.7 and beta=0\.4: expected a sum of at most 1"),
        ({"matching": "atoms"}, "matching='atoms': expected one of both, tokens"),
    ],
    "denoising": [
        ({"inner": "nope"}, "backbone 'nope' is unknown"),
        ({"inner_options": [1]}, r"inner_options=\[1\]: expected a mapping"),
        ({"inner_options": {"depth": 2}}, "'dual_encoder' does not take the options"),
        ({"inner": "finetuned"}, "'finetuned' reads token ids: expected finetuned as the outermost"),
        ({"heads": 3}, "heads=3: expected a divisor of the width 256"),
    ],
}


test_impossible_options_are_refused_by_name = refuses(
    *[(name, *one) for name, several in REFUSED.items() for one in several],
    call=lambda name, options: create_backbone(name, 5, 4, **options),
    error=ValueError,
)


def test_each_step_trains_its_own_parameters_and_only_those(case: Case, pairs: Pairs) -> None:
    backbone = fitted(case, pairs)
    critic = {id(parameter) for parameter in backbone.critic_parameters()}
    assert critic <= {id(parameter) for parameter in trainable(backbone)}
    assert bool(critic) == bool(backbone.critic_losses(*pairs.batch(ALL)))
    for losses, trained in (
        (backbone.losses, lambda parameter: id(parameter) not in critic),
        (backbone.critic_losses, lambda parameter: id(parameter) in critic),
    ):
        terms = losses(*pairs.batch(ALL))
        if not terms:
            continue
        backbone.zero_grad(set_to_none=True)
        total(terms).backward()
        for name, parameter in backbone.named_parameters():
            if not parameter.requires_grad or not trained(parameter):
                assert parameter.grad is None or not parameter.grad.any(), name
                continue
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            # a bias can be without effect: a softmax, a norm or a difference of scores takes it away
            assert parameter.ndim == 1 or parameter.grad.any(), name


def test_32_pairs_are_learnt_until_each_finds_its_own(case: Case, pairs: Pairs) -> None:
    backbone = fitted(case, pairs)
    main, critic = optimizers(backbone)
    text, molecules = pairs.batch(FEW)
    backbone.eval()
    with torch.no_grad():
        before = total(backbone.losses(text, molecules)).item()
    backbone.train()
    for taken in range(1, STEPS + 1):
        step(backbone, text, molecules, main, critic)
        if taken % LOOK_EVERY == 0 and retrieved(backbone, pairs) == 1:
            break
    assert retrieved(backbone, pairs) == 1
    backbone.eval()
    with torch.no_grad():
        assert total(backbone.losses(text, molecules)).item() < before


def test_a_seed_decides_everything(case: Case, pairs: Pairs) -> None:
    states = []
    for _ in range(2):
        backbone = fitted(case, pairs, seed=5)
        main, critic = optimizers(backbone)
        for rows in (ALL[:16], ALL[16:40]):
            step(backbone, *pairs.batch(rows), main, critic)
        states.append(backbone.state_dict())
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name


def test_saved_weights_give_the_same_vectors(case: Case, pairs: Pairs) -> None:
    first, second = fitted(case, pairs, seed=1), case.create(seed=2)
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second.load_state_dict(torch.load(saved, weights_only=True))
    first.eval()
    second.eval()
    with torch.no_grad():
        for rows in ([0], ALL[:9]):
            text, molecules = pairs.batch(rows)
            assert torch.equal(first.encode_text(text), second.encode_text(text))
            assert torch.equal(first.encode_molecules(molecules), second.encode_molecules(molecules))
            if first.reranks:
                scores = [pair_scores(one, text, molecules) for one in (first, second)]
                assert torch.equal(*scores)


@pytest.mark.parametrize("rows", [[0], [4, 0, 0], ALL])
def test_vectors_share_a_space_and_all_is_named_and_finite(rows: list[int], case: Case, pairs: Pairs) -> None:
    """In any batch, of single atoms and of equal pairs too, which may be all that inputs are fitted on."""
    backbone = case.create()
    text, molecules = pairs.batch(rows)
    backbone.fit_inputs(text, molecules)
    a, b = backbone.encode_text(text), backbone.encode_molecules(molecules)
    assert a.shape == b.shape == (len(rows), a.shape[1])
    assert torch.isfinite(a).all()
    assert torch.isfinite(b).all()
    for mode in (True, False):
        backbone.train(mode)
        terms, told = backbone.losses(text, molecules), backbone.critic_losses(text, molecules)
        assert terms
        assert not terms.keys() & told.keys()
        assert all(term.shape in {(), (len(rows),)} and torch.isfinite(term).all() for term in (terms | told).values())
        loss = total(terms | told)
        backbone.zero_grad(set_to_none=True)
        if loss.requires_grad:
            loss.backward()
        for name, parameter in backbone.named_parameters():
            assert parameter.grad is None or torch.isfinite(parameter.grad).all(), name


def test_permuting_a_batch_permutes_its_losses(case: Case, pairs: Pairs) -> None:
    backbone = fitted(case, pairs).eval()
    turn = [4, 0, 10, 2, 1, 9, 8, 3, 7, 5, 6]
    near = torch.zeros(11, 11, dtype=torch.bool)
    near[1, 4] = near[4, 1] = near[9, 2] = True
    with torch.no_grad():
        for mask in (None, near):
            first = backbone.losses(*pairs.batch(ALL[:11]), not_negative=mask)
            second = backbone.losses(*pairs.batch(turn), not_negative=None if mask is None else mask[turn][:, turn])
            assert first.keys() == second.keys()
            for name, term in first.items():
                expected = term[turn] if term.ndim else term
                torch.testing.assert_close(expected, second[name], rtol=1e-4, atol=1e-5)


def test_evaluation_is_repeatable_and_knows_neither_neighbours_nor_padding(case: Case, pairs: Pairs) -> None:
    backbone = fitted(case, pairs).eval()
    with torch.no_grad():
        whole, part = pairs.batch(ALL), pairs.batch([7, 0])
        for encode, all_of_it, some in zip((backbone.encode_text, backbone.encode_molecules), whole, part, strict=True):
            assert torch.equal(encode(all_of_it), encode(all_of_it))
            torch.testing.assert_close(encode(all_of_it)[[7, 0]], encode(some), rtol=1e-4, atol=1e-5)
        if backbone.reranks:
            torch.testing.assert_close(
                pair_scores(backbone, *whole)[[7, 0]], pair_scores(backbone, *part), rtol=1e-4, atol=1e-5
            )
        else:
            with pytest.raises(NotImplementedError):
                pair_scores(backbone, *part)
        first, second = backbone.losses(*whole), backbone.losses(*whole)
        assert all(torch.equal(term, second[name]) for name, term in first.items())
        text, molecules = whole
        if isinstance(text, TokenBatch):
            dirty = replace(text, tokens=text.tokens.masked_fill(~text.mask[..., None], 1e3))
            again = case.create()
            again.fit_inputs(dirty, molecules)
            assert all(torch.equal(value, again.state_dict()[name]) for name, value in backbone.state_dict().items())
            torch.testing.assert_close(backbone.encode_text(text), backbone.encode_text(dirty))
            for name, term in backbone.losses(dirty, molecules).items():
                torch.testing.assert_close(term, first[name])


def test_pairs_that_are_no_negatives_are_left_out(case: Case, pairs: Pairs) -> None:
    backbone = fitted(case, pairs).eval()
    batch = pairs.batch(ALL[:6])
    nobody, eye, everybody = torch.zeros(6, 6, dtype=torch.bool), torch.eye(6, dtype=torch.bool), torch.ones(6, 6) > 0
    with torch.no_grad():
        plain = backbone.losses(*batch)
        for mask in (nobody, eye):
            for name, term in backbone.losses(*batch, not_negative=mask).items():
                torch.testing.assert_close(term, plain[name])
        alone = backbone.losses(*batch, not_negative=everybody)
        assert all(torch.isfinite(term).all() for term in alone.values())
        assert alone.keys() == plain.keys()
        # where nothing is a negative, who else is in the batch costs a pair nothing
        others = backbone.losses(*pairs.batch([0, *ALL[-5:]]), not_negative=everybody)
        for name, term in others.items():
            if term.ndim:
                torch.testing.assert_close(term[0], alone[name][0], rtol=1e-4, atol=1e-5)
        # text 0 and molecule 1 alone are negatives now, so only the losses of pairs 0 and 1 can change
        everybody[0, 1] = False
        for name, term in backbone.losses(*batch, not_negative=everybody).items():
            if term.ndim:
                torch.testing.assert_close(term[2:], alone[name][2:])


CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics card")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=CUDA)])
def test_reduced_precision_keeps_everything_finite_and_on_the_device(device: str, case: Case, pairs: Pairs) -> None:
    text, molecules = pairs.batch(ALL[:12], device)
    backbone = case.create().to(device)
    backbone.fit_inputs(text, molecules)
    near = torch.eye(12, dtype=torch.bool, device=device)
    with torch.autocast(device, torch.bfloat16):
        terms = backbone.losses(text, molecules, not_negative=near) | backbone.critic_losses(text, molecules)
        found = [*terms.values(), backbone.encode_text(text), backbone.encode_molecules(molecules)]
        if backbone.reranks:
            found.append(pair_scores(backbone, text, molecules))
    total({name: term.float() for name, term in terms.items()}).backward()
    found += [one.grad for one in trainable(backbone) if one.grad is not None]
    assert all(torch.isfinite(value).all() for value in found)
    assert all(value.device.type == device for value in [*found, *backbone.state_dict().values()])
