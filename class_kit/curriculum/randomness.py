"""Randomness as a function of numbered purposes, never of earlier draws.

So any epoch can be asked for first, twice, or on another machine, and a new use of randomness changes no old one.
"""

from __future__ import annotations

import numpy as np

# Each use of randomness draws from a stream of its own, so that adding one never changes another.
SHUFFLE, ORDER, PASS, GROUP, APART, PRUNE, NOISE, FRACTION = 1, 2, 3, 4, 5, 6, 7, 8


def random_words(count: int, *path: int) -> np.ndarray:
    """`count` random 64-bit words, shape (count,), a pure function of the path of non-negative integers.

    Raw generator output rather than `Generator.permutation`, whose stream NumPy may change between versions (NEP 19).
    """
    return np.random.PCG64(np.random.SeedSequence(path)).random_raw(count)


def shuffle_rows(rows: np.ndarray, size: int, *path: int) -> np.ndarray:
    """The row ids in a random order that depends on the set of rows and the path alone, not on their given order.

    Every id below `size` owns one random word and the rows are sorted by it. So a plan with λ = 1 runs the very same
    batches whatever its order, and two plans that share rows keep those rows in the same relative order.
    """
    words = random_words(size, *path)
    # The id in the low bits makes every key unique, so any sorting algorithm gives the same result. Row ids up to 2^24
    # leave 40 random bits: a pair of rows of an epoch of a million is tied with p = 0.4.
    mask = np.uint64((1 << max(1, (size - 1).bit_length())) - 1)
    ids = rows.astype(np.uint64)
    keys = (words[rows] & ~mask) | ids
    keys.sort()
    return (keys & mask).astype(np.int64)
