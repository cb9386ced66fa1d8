"""Coverage and level by simulation at 3, 5 and 10 seeds, and hand-checkable cases.

Bounds are stated in standard errors of a share among the simulated studies: with n studies and a true share p it is
sqrt(p (1 - p) / n).
"""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import expit

from class_kit.study.statistics import holm, mean_with_interval, paired_difference
from tests.refusals import refuses

STUDIES = 1000
AT_95 = np.sqrt(0.95 * 0.05 / STUDIES)
QUERIES = 60


def studies(n_seeds, seed_share, rest, count=STUDIES, random_seed=0):
    """Studies of the two-way model with mean 0; `seed_share` is the seeds' part of the variance of the grand mean."""
    rng = np.random.default_rng([random_seed, n_seeds, int(seed_share * 100), int(rest * 100)])
    other = (1 + rest / n_seeds) / QUERIES
    seed_deviation = np.sqrt(n_seeds * other * seed_share / (1 - seed_share))
    for _ in range(count):
        yield (
            seed_deviation * rng.standard_normal((n_seeds, 1))
            + rng.standard_normal((1, QUERIES))
            + np.sqrt(rest) * rng.standard_normal((n_seeds, QUERIES))
        )


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize(("seed_share", "rest"), [(0.0, 0.2), (0.0, 5.0), (0.5, 0.2), (0.97, 1.0)])
def test_intervals_over_queries_and_seeds_cover(n_seeds, seed_share, rest):
    """From three standard errors below 95 % to 98.5 %: the interval may be cautious, never bold."""
    estimates = [mean_with_interval(scores) for scores in studies(n_seeds, seed_share, rest)]
    covered = np.mean([estimate.low <= 0 <= estimate.high for estimate in estimates])
    assert 0.95 - 3 * AT_95 <= covered <= 0.985


def metric_like(kind, n_seeds, random_seed, arms=1):
    """Hits (0 or 1) or heavy-tailed ranks of 300 queries that differ in difficulty, for seeds that matter a little."""
    rng = np.random.default_rng([random_seed, n_seeds])
    query = 1.5 * rng.standard_normal((1, 300))
    for _ in range(arms):
        seed, rest = 0.1 * rng.standard_normal((n_seeds, 1)), 0.7 * rng.standard_normal((n_seeds, 300))
        ease = query + seed + rest - 1.2
        if kind == "hits":
            yield (rng.random((n_seeds, 300)) < expit(ease)).astype(float)
        else:
            yield np.floor(np.exp(1.5 - 0.9 * ease)) + 1


def true_mean(kind):
    """Their expectation: of a logistic function of a normal variable, or 1 + Σ P(e^X ≥ k)."""
    ease = stats.norm(-1.2, np.sqrt(1.5**2 + 0.1**2 + 0.7**2))
    if kind == "hits":
        return ease.expect(expit)
    steps = np.arange(1, 2_000_000)
    return 1 + stats.norm(1.5 - 0.9 * ease.mean(), 0.9 * ease.std()).sf(np.log(steps)).sum()


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize("kind", ["hits", "ranks"])
def test_intervals_of_hits_and_of_ranks_cover(kind, n_seeds):
    count, expected = 500, true_mean(kind)
    estimates = [mean_with_interval(next(metric_like(kind, n_seeds, number))) for number in range(count)]
    covered = np.mean([estimate.low <= expected <= estimate.high for estimate in estimates])
    assert 0.95 - 3 * np.sqrt(0.95 * 0.05 / count) <= covered <= 0.99


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize("kind", ["hits", "ranks"])
def test_the_paired_test_of_hits_and_of_ranks_holds_its_level(kind, n_seeds):
    count = 300
    found = [
        paired_difference(*metric_like(kind, n_seeds, number, arms=2), resamples=99, seed=number)
        for number in range(count)
    ]
    assert np.mean([difference.p <= 0.05 for difference in found]) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / count)
    assert np.mean([difference.low > 0 or difference.high < 0 for difference in found]) <= 0.09


@pytest.mark.parametrize("n_seeds", [3, 5, 10])
@pytest.mark.parametrize("seed_share", [0.0, 0.75])
def test_the_paired_test_holds_its_level(n_seeds, seed_share):
    """At most 5 % of studies without an effect fall below p = 0.05, plus three standard errors."""
    count = 600
    found = [
        paired_difference(scores + common, common, resamples=199, seed=number)
        for number, scores in enumerate(studies(n_seeds, seed_share, 1.0, count, 2))
        for common in [np.random.default_rng(number).standard_normal(scores.shape)]
    ]
    bound = 0.05 + 3 * np.sqrt(0.05 * 0.95 / count)
    assert np.mean([difference.p <= 0.05 for difference in found]) <= bound
    assert np.mean([difference.p_crossed <= 0.05 for difference in found]) <= bound
    flips = np.mean([difference.p_permutation <= 0.05 for difference in found])
    if seed_share:
        # flipping queries takes the models as given: seeds that favour an arm pass for an effect
        assert flips > 2 * bound
    else:
        assert 0.05 - 3 * np.sqrt(0.05 * 0.95 / count) <= flips <= bound
        # nor is the larger p so cautious that it never speaks
        assert np.mean([difference.p <= 0.05 for difference in found]) >= 0.01


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5), st.integers(2, 9), st.floats(0, 3))
def test_interval_and_crossed_p_agree(seed, n_seeds, queries, effect):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, n_seeds, queries))
    a += effect
    difference = paired_difference(a, b)
    excludes = difference.low > 0 or difference.high < 0
    assert excludes == (difference.p_crossed < 0.05)
    assert difference.p == max(difference.p_crossed, difference.p_permutation)
    assert paired_difference(a, a).p == 1
    swapped = paired_difference(b, a)
    assert swapped.effect == pytest.approx(-difference.effect)
    assert swapped.low == pytest.approx(-difference.high)
    assert swapped.p == pytest.approx(difference.p)


def test_flips_of_few_queries_are_all_enumerated():
    differences = np.array([0.3, -0.1, 0.4, 0.2, 0.0, 0.5])
    sums = [abs(np.dot(signs, differences)) for signs in product([1, -1], repeat=6)]
    expected = np.mean([one >= abs(differences.sum()) - 1e-12 for one in sums])
    found = paired_difference(differences[None], np.zeros((1, 6)))
    assert found.p_permutation == expected


def test_random_flips_come_near_all_flips():
    rng = np.random.default_rng(5)
    differences = rng.standard_normal(14) + 0.5
    signs = np.array(list(product([1, -1], repeat=14)))
    exact = np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12)
    found = paired_difference(differences[None], np.zeros((1, 14))).p_permutation
    assert found == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 9999))
    assert found == paired_difference(differences[None], np.zeros((1, 14))).p_permutation
    assert found != paired_difference(differences[None], np.zeros((1, 14)), seed=1).p_permutation


def test_one_seed_is_student_over_queries():
    scores = np.random.default_rng(7).random((1, 40))
    estimate = mean_with_interval(scores)
    low, high = stats.t.interval(0.95, 39, scores.mean(), stats.sem(scores[0]))
    assert (estimate.low, estimate.high) == pytest.approx((low, high))
    paired = paired_difference(scores, np.zeros((1, 40)))
    assert paired.p_crossed == pytest.approx(stats.ttest_1samp(scores[0], 0).pvalue)


def test_seeds_alone_are_student_over_seeds():
    """Queries that all behave alike leave the seeds' t interval."""
    seeds = np.array([0.2, 0.5, 0.9, 0.3])
    estimate = mean_with_interval(np.tile(seeds[:, None], 7))
    low, high = stats.t.interval(0.95, 3, seeds.mean(), stats.sem(seeds))
    assert (estimate.low, estimate.high) == pytest.approx((low, high))


def test_holm_by_hand():
    assert holm([0.04, 0.01, 0.03, 0.5]).tolist() == pytest.approx([0.09, 0.04, 0.09, 0.5])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert holm([0.02]).tolist() == [0.02]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_lies_between_none_and_bonferroni(values):
    adjusted = holm(values)
    assert (adjusted >= values).all()
    assert (adjusted <= np.minimum(np.array(values) * len(values), 1) + 1e-15).all()
    by_size = adjusted[np.argsort(values, kind="stable")]
    assert (np.diff(by_size) >= 0).all()


test_bad_input_is_named = refuses(
    (lambda: mean_with_interval([[1.0, np.nan]]), "1 values not finite"),
    (lambda: mean_with_interval([0.1, 0.2]), r"shape \(2,\)"),
    (lambda: mean_with_interval([[0.1], [0.2]]), "at least two queries"),
    (lambda: paired_difference(np.ones((2, 3)), np.ones((2, 4))), r"a has shape \(2, 3\) and b \(2, 4\)"),
    (lambda: holm([0.5, 1.5]), "between 0 and 1"),
)
