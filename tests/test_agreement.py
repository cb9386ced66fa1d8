"""Mismatched pairs: agreement against a loop, the share and the suspects among pairs exchanged on purpose."""

import numpy as np
import pytest

import class_kit as ck
from tests.refusals import refuses
from tests.test_neighbours import unit


def related(pairs: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Texts and molecules that share eight hidden properties, each written in its own way."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(pairs, 8))
    t = np.tanh(hidden @ rng.normal(size=(8, 24))) + 0.3 * rng.normal(size=(pairs, 24))
    m = np.tanh(hidden @ rng.normal(size=(8, 30))) + 0.3 * rng.normal(size=(pairs, 30))
    return t.astype(np.float32), m.astype(np.float32)


def exchanged(pairs: int, share: float, seed: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """For each text the row of its molecule now, and which pairs are wrong by it."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(pairs, round(share * pairs), replace=False)
    molecule = np.arange(pairs)
    molecule[rows] = np.roll(rows, 1)
    return molecule, molecule != np.arange(pairs)


def curve_area(values: np.ndarray, wrong: np.ndarray) -> float:
    """Share of (right, wrong) couples of which the right one agrees more."""
    return float(np.mean(values[~wrong][:, None] > values[wrong][None, :]))


def naive_agreement(t: np.ndarray, m: np.ndarray, k: int) -> np.ndarray:
    centred = [unit(unit(x) - unit(x).mean(axis=0)) for x in (t, m)]
    out = np.zeros(len(t))
    for near, other in (centred, centred[::-1]):
        for i in range(len(t)):
            cosines = [(-(near[i] @ near[j]), j) for j in range(len(t)) if j != i]
            out[i] += np.mean([other[i] @ other[j] for _, j in sorted(cosines)[:k]]) / 2
    return out


@pytest.mark.parametrize("k", [1, 10, 500])
def test_agreement_is_that_of_a_loop(k):
    t, m = related(120)
    expected = naive_agreement(t.astype(np.float64), m.astype(np.float64), min(k, 119))
    np.testing.assert_allclose(ck.pair_agreement(t, m, k), expected, atol=1e-6)


def test_a_repeated_pair_does_not_vouch_for_itself():
    t, m = related(200)
    molecule, wrong = exchanged(200, 0.1)
    m = m[molecule]
    once = ck.pair_agreement(t, m)
    copies = np.flatnonzero(wrong)[[0, 0, 0, 1]]
    again = ck.pair_agreement(np.concatenate([t, t[copies]]), np.concatenate([m, m[copies]]))
    np.testing.assert_allclose(again, np.concatenate([once, once[copies]]), atol=1e-12)
    audit = ck.audit_pairs(np.concatenate([t, t[copies]]), np.concatenate([m, m[copies]]))
    np.testing.assert_allclose(audit.agreement[200:], audit.agreement[copies])


@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.4])
def test_exchanged_pairs_are_found_and_counted(share):
    t, m = related(600)
    molecule, wrong = exchanged(600, share)
    audit = ck.audit_pairs(t, m[molecule], seed=0)
    low, high = audit.mismatch_share_ci
    assert low <= audit.mismatch_share <= high
    assert audit.mismatch_share == pytest.approx(share, abs=0.06)
    assert low <= share <= high
    assert list(audit.suspects) == list(np.argsort(audit.agreement, kind="stable")[: len(audit.suspects)])
    if share:
        assert curve_area(audit.agreement, wrong) > 0.9
        assert curve_area(ck.pair_agreement(t, m[molecule]), wrong) > 0.8
        assert wrong[audit.suspects[: wrong.sum() // 2]].mean() > 0.85


def test_a_shuffled_table_looks_like_chance():
    t, m = related(500)
    audit = ck.audit_pairs(t, np.random.default_rng(3).permutation(m))
    assert audit.auc == pytest.approx(0.5, abs=0.05)
    assert audit.mismatch_share_ci[1] > 0.9
    assert ck.audit_pairs(t, m).auc > 0.9


def test_the_interval_covers_the_share_of_most_tables():
    covered = 0
    for seed in range(20):
        t, m = related(200, seed)
        low, high = ck.audit_pairs(t, m[exchanged(200, 0.2, seed)[0]], seed).mismatch_share_ci
        covered += low <= 0.2 <= high
    assert covered >= 17


def test_a_seed_gives_the_same_audit_and_another_order_the_same_verdict():
    t, m = related(400)
    molecule, _ = exchanged(400, 0.2)
    m = m[molecule]
    first, again = ck.audit_pairs(t, m, seed=5), ck.audit_pairs(t, m, seed=5)
    np.testing.assert_array_equal(first.agreement, again.agreement)
    assert first.mismatch_share_ci == again.mismatch_share_ci
    order = np.random.default_rng(0).permutation(400)
    moved = ck.audit_pairs(t[order], m[order], seed=5)
    assert np.corrcoef(moved.agreement, first.agreement[order])[0, 1] > 0.9


def test_a_table_judged_in_parts_gets_the_same_verdict(monkeypatch):
    t, m = related(600)
    molecule, wrong = exchanged(600, 0.2)
    t[7] = 0
    whole = ck.audit_pairs(t, m[molecule])
    monkeypatch.setattr("class_kit.agreement.MANY", 250)
    parts = ck.audit_pairs(t, m[molecule])
    assert parts.agreement[7] == 0
    assert curve_area(parts.agreement, wrong) > 0.9
    assert parts.mismatch_share == pytest.approx(0.2, abs=0.06)
    assert np.corrcoef(parts.agreement, whole.agreement)[0, 1] > 0.9
    assert not np.array_equal(parts.agreement, whole.agreement)


def test_a_zero_vector_is_neither_suspect_nor_counted():
    t, m = related(300)
    t[7], m[11] = 0, 0
    audit = ck.audit_pairs(t, m)
    assert audit.agreement[7] == audit.agreement[11] == 0
    assert not {7, 11} & set(audit.suspects)
    agreement = ck.pair_agreement(t, m)
    assert agreement[7] == agreement[11] == 0


test_what_cannot_be_judged_is_refused = refuses(
    (lambda t, m: ck.pair_agreement(t, m, k=0), "k=0"),
    (lambda t, m: ck.pair_agreement(t, None), "one of them is None"),
    (lambda t, m: ck.audit_pairs(t[:40], m[:40]), "40 distinct pairs among 40: at least 50"),
    (lambda t, m: ck.audit_pairs(t[[0] * 100], m[[0] * 100]), "1 distinct pairs among 100"),
    (lambda t, m: ck.audit_pairs(t[[0] * 100], m[:100]), "all texts have the same vector"),
    (lambda t, m: ck.audit_pairs(t, 0 * m), "all molecules have the same vector, or none"),
    (lambda t, m: ck.pair_agreement(t[:100], m[[0] * 100]), "all molecules have the same vector"),
    (lambda t, m: ck.audit_pairs(t, m, seed=-1), "seed=-1"),
    (lambda t, m: ck.audit_pairs(t * (np.arange(len(t)) < 30)[:, None], m), "30 distinct pairs have non-zero"),
    call=lambda call: call(*related(120)),
)


def test_exchanged_pairs_of_pubchem_are_found(real_file):
    """Real descriptions and molecules: words of the texts against fingerprints, both reduced to 100 numbers."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    text = real_file("pcdes/validation.txt").read_text(encoding="utf-8")
    lines = [line.split("\t") for line in text.splitlines()[1:1001]]
    texts, smiles = [line[2] for line in lines], [line[1].replace("\\\\", "\\") for line in lines]
    t = TruncatedSVD(100, random_state=0).fit_transform(TfidfVectorizer(sublinear_tf=True).fit_transform(texts))
    m = TruncatedSVD(100, random_state=0).fit_transform(np.sqrt(ck.embed_molecules(smiles, encoder="morgan")))
    molecule, wrong = exchanged(len(t), 0.2)
    audit = ck.audit_pairs(t, m[molecule])
    assert curve_area(audit.agreement, wrong) > 0.88
    assert audit.mismatch_share == pytest.approx(0.2, abs=0.08)
    assert ck.audit_pairs(t, m).mismatch_share < 0.06
