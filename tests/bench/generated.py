"""Pairs of any number whose embeddings resemble the real ones: same spectrum, same share of near-duplicates.

Measured once on 6,601 real ChEBI-20 pairs (MiniLM text vectors, Mol2vec molecule vectors) and kept here as a few
numbers: the standard deviation along the principal axes of the unit vectors, the length of their mean, the correlation
of the leading axes of the two modalities, and how far the nearest neighbour lies: 1 − s is close to uniform on
[0, 0.1] for half of the pairs. Real vectors never enter the repository.
"""

import numpy as np

T_WIDTH, M_WIDTH = 384, 300
RANKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 300, 384)
# standard deviations of text and molecule at these ranks
T_STD = (0.1701, 0.157, 0.1521, 0.1221, 0.1103, 0.09844, 0.08798, 0.07983, 0.07015)
T_STD = (*T_STD, 0.0631, 0.05385, 0.0469, 0.03708, 0.02968, 0.01864, 0.01096, 0.0072, 0.0030)
M_STD = (0.3364, 0.2555, 0.1984, 0.1632, 0.1183, 0.09598, 0.07229, 0.058, 0.04173)
M_STD = (*M_STD, 0.03215, 0.02003, 0.01314, 0.007237, 0.004049, 0.0005834, 0.0001303, 0.00005295)
T_MEAN, M_MEAN = 0.694, 0.781
# correlation of the k-th axes of text and molecule, falling over the leading thirty
CORRELATION = np.linspace(0.85, 0.1, 30)
CHILD_SHARE, CHILD_DISTANCE, EXACT_SHARE = 0.24, 0.12, 0.01
# classes of compounds, few large and many small, each taking its own share of the variance within itself
CLASSES, WITHIN = 150, (0.3, 1.0)
CHUNK = 20_000


def spectrum(std: tuple[float, ...], width: int) -> np.ndarray:
    """The standard deviation along every axis, interpolated between the stored ranks on log axes."""
    ranks = np.log(np.array(RANKS[: len(std)]))
    return np.exp(np.interp(np.log(np.arange(1, width + 1)), ranks, np.log(std)))


def resembling(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`n` generated pairs, (n, 384) and (n, 300) float32, in an order without meaning.

    Four in five are drawn from the spectrum, scattered about the centres of 150 classes; the others are
    near-duplicates of one of those, some of many, as homologues and salts are; one near-duplicate in a hundred is
    exact.
    """
    rng = np.random.default_rng(seed)
    axes = [_rotation(rng, T_WIDTH), _rotation(rng, M_WIDTH)]
    base = n - int(CHILD_SHARE * n)
    centres = _noise(rng, CLASSES, axes)
    weights = 1 / np.arange(1, CLASSES + 1)
    within = rng.uniform(*WITHIN, CLASSES).astype(np.float32)
    t, m = np.empty((n, T_WIDTH), np.float32), np.empty((n, M_WIDTH), np.float32)
    place = rng.permutation(n)
    for start in range(0, base, CHUNK):
        rows = place[start : min(start + CHUNK, base)]
        noise = _noise(rng, len(rows), axes)
        label = rng.choice(CLASSES, len(rows), p=weights / weights.sum())
        share = within[label][:, None]
        for out, k, mean in ((t, 0, T_MEAN), (m, 1, M_MEAN)):
            centre = np.sqrt(1 - share) * centres[k][label]
            out[rows] = centre + np.sqrt(share) * noise[k] + np.float32(mean) * axes[k][-1]
    for start in range(base, n, CHUNK):
        rows = place[start : start + CHUNK]
        parents = place[(base * rng.random(len(rows)) ** 2).astype(np.int64)]
        noise = _noise(rng, len(rows), axes)
        # noise of the whole spectrum's shape has a mean square of 0.454 in u, and 1 − s is half of it
        scale = np.sqrt(rng.random(len(rows)) * CHILD_DISTANCE / 0.227)
        scale[rng.random(len(rows)) < EXACT_SHARE] = 0.0
        scale = scale.astype(np.float32)[:, None]
        t[rows] = t[parents] + scale * noise[0]
        m[rows] = m[parents] + scale * noise[1]
    return t, m


def _rotation(rng: np.random.Generator, width: int) -> np.ndarray:
    return np.linalg.qr(rng.standard_normal((width, width)))[0].astype(np.float32)


def _noise(rng: np.random.Generator, n: int, axes: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    t, m = (rng.standard_normal((n, width), dtype=np.float32) for width in (T_WIDTH, M_WIDTH))
    lead = CORRELATION.astype(np.float32)
    m[:, : len(lead)] = lead * t[:, : len(lead)] + np.sqrt(1 - lead**2) * m[:, : len(lead)]
    t *= spectrum(T_STD, T_WIDTH).astype(np.float32)
    m *= spectrum(M_STD, M_WIDTH).astype(np.float32)
    return t @ axes[0], m @ axes[1]


def crowded(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`n` generated pairs, as `resembling`, with few texts for many molecules that are nearly the same.

    One public set has 5,062 distinct texts for 160,560 molecules and a median of 8,446 neighbours above σ = 0.99, one
    in nineteen. Here the share of distinct texts is the same and their frequencies fall by a power law, so that of
    80,000 pairs the median has 3,743 neighbours, one in twenty-one.
    """
    rng = np.random.default_rng(seed)
    texts = max(2, n * 5062 // 160_560)
    t, m = resembling(texts, seed)
    axes = [_rotation(rng, T_WIDTH), _rotation(rng, M_WIDTH)]
    weights = np.arange(1, texts + 1) ** -1.35
    label = rng.choice(texts, n, p=weights / weights.sum())
    out = np.empty((n, M_WIDTH), np.float32)
    for start in range(0, n, CHUNK):
        rows = label[start : start + CHUNK]
        # so far apart that the cosine of two molecules of one text is mostly above 0.98
        scale = np.float32(0.14) * np.sqrt(rng.random((len(rows), 1), dtype=np.float32))
        out[start : start + CHUNK] = m[rows] + scale * _noise(rng, len(rows), axes)[1]
    return t[label], out
