"""Time to count neighbours: this kit beside what a user would take instead, all giving the same counts.

Run `python -m tests.bench.bench_neighbours`; `--sizes` shortens it. A peer runs at a size only if its time there,
foreseen from the last size by the law that its work grows with L², stays under `--limit` seconds; otherwise the
foreseen time is given and marked. Writes a table to the terminal, a JSON file and a figure beside it.
"""

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize

from class_kit.errors import InputError
from class_kit.files import atomic_write, write_json
from class_kit.neighbours import neighbour_counts
from tests.bench.generated import crowded, resembling

SIGMA = 0.99
REAL = 6601
VECTORS = ("text2mol", "mol2vec", "corpus")
SIZES = (REAL, 33_010, 50_000, 100_000, 200_000, 500_000, 1_000_000)
THREADS = 2
BLOCK = 4096
# work that visits every pair grows with the square of their number
LAW = 2.0
TWELVE = [0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 0.985, 0.99, 0.995]

Pairs = tuple[np.ndarray, np.ndarray]


def joint(t: np.ndarray, m: np.ndarray) -> np.ndarray:
    """u = [t̂ ; m̂]/√2 in float32, what a peer is given."""
    parts = [normalize(x) for x in (t, m)]
    return np.ascontiguousarray(np.concatenate(parts, axis=1) / np.float32(np.sqrt(2)), dtype=np.float32)


def kit(t: np.ndarray, m: np.ndarray, sigma: float) -> np.ndarray:
    return neighbour_counts(t, m, sigma, n_jobs=THREADS, progress=False)


def torch_product(t: np.ndarray, m: np.ndarray, sigma: float) -> np.ndarray:
    """The symmetric float32 product by blocks: each pair once."""
    import torch

    torch.set_num_threads(THREADS)
    u = torch.from_numpy(joint(t, m))
    counts = torch.zeros(len(u), dtype=torch.int64)
    for a in range(0, len(u), BLOCK):
        for b in range(a, len(u), BLOCK):
            above = (u[a : a + BLOCK] @ u[b : b + BLOCK].T) > sigma
            if a == b:
                above.fill_diagonal_(False)
            else:
                counts[b : b + BLOCK] += above.sum(0)
            counts[a : a + BLOCK] += above.sum(1)
    return counts.numpy()


def faiss_range(t: np.ndarray, m: np.ndarray, sigma: float) -> np.ndarray:
    import faiss

    faiss.omp_set_num_threads(THREADS)
    u = joint(t, m)
    index = faiss.IndexFlatIP(u.shape[1])
    index.add(u)
    ends, _, found = index.range_search(u, sigma)
    row = np.repeat(np.arange(len(u)), np.diff(ends.astype(np.int64)))
    return np.bincount(row[found != row], minlength=len(u))


def sklearn_radius(algorithm: str) -> Callable[..., np.ndarray]:
    def count(t: np.ndarray, m: np.ndarray, sigma: float) -> np.ndarray:
        from sklearn.neighbors import NearestNeighbors

        # the radius is closed and σ is not
        radius = np.sqrt(2 - 2 * sigma) * (1 - 1e-7)
        model = NearestNeighbors(radius=radius, algorithm=algorithm, n_jobs=THREADS).fit(joint(t, m))
        return np.array([len(x) for x in model.radius_neighbors(return_distance=False)])

    return count


def two_cosines(t: np.ndarray, m: np.ndarray, sigma: float) -> np.ndarray:
    """The paper's formula as it stands, in NumPy, by rows so that it fits in memory."""
    t, m = normalize(t), normalize(m)
    counts = np.empty(len(t), np.int64)
    for a in range(0, len(t), 1024):
        s = (t[a : a + 1024] @ t.T + m[a : a + 1024] @ m.T) / 2
        s[np.arange(len(s)), np.arange(a, a + len(s))] = -1
        counts[a : a + 1024] = (s > sigma).sum(axis=1)
    return counts


PEERS: dict[str, Callable[..., np.ndarray]] = {
    "torch, symmetric blocks": torch_product,
    "FAISS IndexFlatIP": faiss_range,
    "scikit-learn brute": sklearn_radius("brute"),
    "scikit-learn ball tree": sklearn_radius("ball_tree"),
    "scikit-learn k-d tree": sklearn_radius("kd_tree"),
    "NumPy, two cosines": two_cosines,
}


def real_pairs() -> Pairs | None:
    """The published validation and test pairs, embedded (cached after the first time), or None where absent.

    They are looked for where every loader of the kit looks: `CLASS_KIT_DATA`, then what `class-kit fetch` left. So are
    published Mol2vec vectors; those of the bundled corpus stand in where there are none.
    """
    from class_kit.molecules import embed_molecules
    from class_kit.pairs import load_pairs
    from class_kit.text import embed_text

    try:
        sets = [load_pairs("chebi20", split=name) for name in ("validation", "test")]
    except InputError as error:
        print(f"no real pairs: {error}")
        return None
    if (found := sum(map(len, sets))) != REAL:
        print(f"no real pairs: {found:,} in validation and test, {REAL:,} expected")
        return None
    for vectors in VECTORS:
        try:
            m = [embed_molecules(pairs.smiles, vectors=vectors) for pairs in sets]
        except InputError as error:
            print(f"Mol2vec vectors {vectors}: {error}")
            continue
        print(f"{REAL:,} real pairs, Mol2vec vectors {vectors}")
        return np.concatenate([embed_text(pairs.text) for pairs in sets]), np.concatenate(m)
    return None


def timed(method: Callable[..., Any], pairs: Pairs, sigma: Any, repeat: int = 1) -> tuple[float, Any]:
    """The best of some runs: on a shared machine the least disturbed one."""
    best, result = np.inf, None
    for _ in range(repeat):
        started = time.perf_counter()
        result = method(*pairs, sigma)
        best = min(best, time.perf_counter() - started)
    return best, result


def compare(sizes: list[int], limit: float) -> list[dict[str, Any]]:
    """Every method at every size, measured or foreseen."""
    # nobody's first call, with its libraries to load and loops to compile, is taken for the law's starting point
    few = resembling(2000)
    neighbour_counts(*few, SIGMA, engine="tiles")
    for peer in PEERS.values():
        peer(*few, SIGMA)
    rows: list[dict[str, Any]] = []
    last: dict[str, tuple[int, float]] = {}
    for size in sizes:
        real = real_pairs() if size == REAL else None
        pairs = resembling(size) if real is None else real
        # what the README says of each size is read from here
        data = "generated" if real is None else "real"
        seconds, expected = timed(kit, pairs, SIGMA, 3 if size <= 200_000 else 1)
        rows.append({"size": size, "data": data, "method": "class_kit", "seconds": seconds, "measured": True})
        rows[-1]["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        for name, peer in PEERS.items():
            known = last.get(name)
            foreseen = known[1] * (size / known[0]) ** LAW if known else 0.0
            row: dict[str, Any] = {"size": size, "data": data, "method": name, "measured": foreseen <= limit}
            if row["measured"]:
                row["seconds"], counts = timed(peer, pairs, SIGMA, 2 if size <= REAL else 1)
                row["rows_counted_otherwise"] = int((counts != expected).sum())
                last[name] = (size, row["seconds"])
            else:
                row["seconds"] = foreseen
            row["times_slower"] = row["seconds"] / seconds
            rows.append(row)
        show([row for row in rows if row["size"] == size])
    return rows


def many_sigmas(size: int) -> dict[str, Any]:
    """Twelve thresholds in one pass beside the smallest alone."""
    pairs = resembling(size)
    alone, all_twelve = (min(timed(kit, pairs, s)[0] for _ in range(3)) for s in (TWELVE[0], TWELVE))
    print(f"12 σ {all_twelve:.2f} s   smallest alone {alone:.2f} s   ratio {all_twelve / alone:.2f}")
    return {"size": size, "sigmas": TWELVE, "seconds": all_twelve, "smallest_alone_seconds": alone}


def dense_neighbourhoods(size: int) -> dict[str, Any]:
    """Pairs with thousands of neighbours, where most of the work is to count them; the product beside it."""
    pairs = crowded(size)
    (seconds, counts), (product, expected) = (timed(method, pairs, SIGMA, 2) for method in (kit, torch_product))
    print(f"{size:,} crowded pairs {seconds:.2f} s   product {product:.2f} s   ratio {product / seconds:.1f}")
    found = {"median_count": float(np.median(counts)), "rows_counted_otherwise": int((counts != expected).sum())}
    return {"size": size, "seconds": seconds, "product_seconds": product, **found}


def exponent(rows: list[dict[str, Any]], least: int) -> float | None:
    """Slope of log time over log L of this kit, from `least` on."""
    own = [(row["size"], row["seconds"]) for row in rows if row["method"] == "class_kit" and row["size"] >= least]
    if len(own) < 2:
        return None
    size, seconds = np.log(np.array(own, float)).T
    return float(np.polyfit(size, seconds, 1)[0])


def show(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        mark = " " if row["measured"] else "≈"
        slower = f"{row['times_slower']:9.1f} ×" if "times_slower" in row else " " * 11
        differing = row.get("rows_counted_otherwise")
        note = "" if differing is None else f"   {differing} rows counted otherwise"
        print(f"{row['size']:>9,} {row['method']:26}{mark}{row['seconds']:12.2f} s {slower}{note}", flush=True)


def draw(rows: list[dict[str, Any]], slope: float | None, path: Path) -> None:
    """Time against L on log axes; hollow marks are foreseen."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
    for method in dict.fromkeys(row["method"] for row in rows):
        own = [row for row in rows if row["method"] == method]
        label = f"{method} (∝ L^{slope:.2f} from 50,000)" if method == "class_kit" and slope else method
        (line,) = axes.plot([row["size"] for row in own], [row["seconds"] for row in own], lw=1, label=label)
        for row in own:
            fill = line.get_color() if row["measured"] else "white"
            axes.plot(row["size"], row["seconds"], "o", ms=5, color=line.get_color(), mfc=fill)
    axes.set(
        xscale="log", yscale="log", xlabel="pairs L", ylabel="seconds, 2 cores", title=f"Neighbours at σ = {SIGMA}"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, title="hollow: foreseen by L²", title_fontsize=7)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--limit", type=float, default=90.0, help="seconds a peer may take at one size")
    parser.add_argument("--figure", type=Path, default=Path("figures/neighbours/time.png"))
    options = parser.parse_args()
    rows = compare(sorted(options.sizes), options.limit)
    slope = exponent(rows, 50_000)
    result = {
        "sigma": SIGMA,
        "threads": THREADS,
        "law_of_foreseen_times": f"L^{LAW:g}",
        "rows": rows,
        "exponent": slope,
        "many_sigmas": many_sigmas(20_000),
        "dense": dense_neighbourhoods(40_000),
    }
    if slope is not None:
        print(f"this kit from 50,000 pairs on: time ∝ L^{slope:.2f}")
    write_json(options.figure.with_suffix(".json"), result)
    draw(rows, slope, options.figure)
    print(f"{options.figure} and {options.figure.with_suffix('.json')}")


if __name__ == "__main__":
    main()
