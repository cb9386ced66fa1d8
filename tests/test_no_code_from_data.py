"""Data stay data: no file that the kit reads can run something, and no line of the kit could let it.

The pickle reader has tests of its own (`test_restricted_pickle`, `test_fuzz`), notebook parameters as well
(`test_parameters`, `test_kernels`).
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest

import class_kit
from class_kit.errors import InputError
from class_kit.files import shipped
from class_kit.molecules.vectors import load_vectors
from class_kit.store import Maker, stored, stored_vectors
from tests.code_scan import findings

PACKAGE = Path(class_kit.__file__).parent


def test_no_line_of_the_package_turns_data_into_code() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 50
    reader = PACKAGE / "molecules" / "restricted_pickle.py"
    found = {
        path.relative_to(PACKAGE).as_posix(): findings(path.read_text(encoding="utf-8"), path == reader)
        for path in files
    }
    assert {path: lines for path, lines in found.items() if lines} == {}


def test_no_cell_of_the_notebooks_turns_data_into_code() -> None:
    books = sorted(shipped("notebooks").glob("*.ipynb"))
    assert books
    for path in books:
        cells = nbformat.read(path, as_version=4).cells
        source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
        assert findings(source) == [], path.name


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal as m",
        "from pickle import loads",
        "import pickletools",
        "from dill.source import x",
        "eval('1')",
        "list(map(eval, lines))",
        "exec(text)",
        "import builtins as b\nb.exec(text)",
        "from builtins import eval as e\ne('1')",
        "__import__(name)",
        "import os\nos.system(x)",
        "from os import popen as p\np(x)",
        "import subprocess as s\ns.run(x, shell=True)",
        "import subprocess\nsubprocess.run(x, shell=wanted)",
        "import subprocess\nsubprocess.run('ls')",
        "import subprocess\nsubprocess.run(f'ls {x}')",
        "options = {'shell': True}",
        "options = dict(trust_remote_code=True)",
        "AutoModel.from_pretrained(x, trust_remote_code=trust)",
        "import numpy as np\nnp.load(x)",
        "import numpy as np\nnp.load(x, allow_pickle=True)",
        "import numpy as np\nnp.load(x, 'r', True)",
        "from numpy import load\nload(x)",
        "import torch\ntorch.load(x)",
        "import torch as t\nt.load(x, weights_only=False)",
        "import pandas as pd\npd.read_pickle(x)",
        "import joblib\njoblib.load(x)",
        "import yaml\nyaml.load(x)",
        "import yaml\nyaml.load(x, Loader=yaml.Loader)",
        "import yaml\nyaml.load(x, yaml.UnsafeLoader)",
        "from yaml import full_load\nfull_load(x)",
        "import subprocess\nsubprocess.run(x, shell=1)",
        "import subprocess\nsubprocess.run(x, shell='no')",
        "import subprocess\nsubprocess.Popen(x, -1, None, None, None, None, None, True, True)",
        "AutoModel.from_pretrained(x, trust_remote_code=1)",
        "AutoModel.from_pretrained(x, trust_remote_code=None)",
        "options = {'trust_remote_code': 1}",
        "options = {'weights_only': 0}",
        "options = {'weights_only': None}",
        "options = {}\noptions['weights_only'] = False",
        "options['allow_pickle'] = 1",
        "options = {'allow_pickle': wanted}",
        "import torch\ntorch.load(x, weights_only=1)",
        "import torch\ntorch.load(x, weights_only=safe)",
        "import torch\ntorch.load(x, **options)",
        "import torch\nf = torch.load\nf(x)",
        "import torch\nf = torch.load\nf(x, weights_only=False)",
        "import torch\nt = torch\nt.load(x)",
        "import torch\nif (t := torch):\n    t.load(x)",
        "import torch\ntorch.serialization.load(x)",
        "import torch\ngetattr(torch, 'load')(x)",
        "import torch\ndef f():\n    eval = torch.nn\ndef g(x):\n    eval(x)",
        "from torch import *\nload(x)",
        "from torch import load as f\nlist(map(f, paths))",
        "import numpy as np\nload = np.load\nload(x)",
        "import numpy as np\nnp.load(x, allow_pickle=0)",
        "import numpy as np\nnp.load(x, allow_pickle=None)",
        "import numpy as np\nfrom functools import partial\nread = partial(np.load, mmap_mode='r')",
        "import numpy as np\nreaders = {'npy': np.load}",
        "import numpy\nnumpy.lib.npyio.load(x)",
    ],
)
def test_the_scan_sees(source: str) -> None:
    assert findings(source)


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "# eval(x), pickle\n'os.system(x)'",
        "import re\nre.compile('a')",
        "import numpy as np\nnp.load(x, allow_pickle=False)",
        "import torch\ntorch.load(x, weights_only=True)",
        "import yaml\nyaml.load(x, Loader=yaml.CSafeLoader)\nyaml.safe_load(x)",
        "import subprocess\nsubprocess.run(['ls', x])",
        "options = {'trust_remote_code': False}",
        "import torch\nfrom safetensors.torch import load\nload(x)",
        "import torch as t\nt.load(x, 'cpu', weights_only=True)",
        "from numpy import load\nwith load(x, allow_pickle=False) as file:\n    pass",
        "options = {'weights_only': True}\noptions['shell'] = False",
        "import subprocess\nsubprocess.run(['ls', x], shell=False)",
        "import json\nload = json.load\nload(x)",
    ],
)
def test_the_scan_lets_pass(source: str) -> None:
    assert findings(source) == []


class Runs:
    """On being unpickled, leaves a file behind."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a payload would leave its mark; the cache is the test's own."""
    monkeypatch.setenv("CLASS_KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "it-ran"


def object_array(path: Path, value: Any) -> Path:
    held = np.empty(1, dtype=object)
    held[0] = value
    np.save(path, held, allow_pickle=True)
    return path.with_name(path.name if path.suffix == ".npy" else f"{path.name}.npy")


def test_the_payload_would_run(marker: Path) -> None:
    pickle.loads(pickle.dumps(Runs(marker)))
    assert marker.exists()


def test_crafted_vectors_are_refused(tmp_path: Path, marker: Path) -> None:
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({"UNK": Runs(marker)}))
    object_array(tmp_path / "b.npy", {"UNK": Runs(marker)})
    np.savez(tmp_path / "c.npz", a=np.array([Runs(marker)], dtype=object), allow_pickle=True)
    shutil.copy(tmp_path / "c.npz", tmp_path / "c.npy")
    for name in ("a.pkl", "b.npy", "c.npz", "c.npy"):
        with pytest.raises(InputError, match=name):
            load_vectors(tmp_path / name)
    assert not marker.exists()


# a gensim model whose vectors lie in a file beside it
BESIDE = (
    b"\x80\x02cgensim.models.keyedvectors\nKeyedVectors\n)\x81}(X\x08\x00\x00\x00__numpys](X\x07\x00\x00\x00vectorse"
    b"X\x0c\x00\x00\x00index_to_key](X\x01\x00\x00\x00ae"
    b"ub."
)


def beside(folder: Path) -> Path:
    (folder / "model.pkl").write_bytes(BESIDE)
    return folder / "model.pkl.vectors.npy"


def test_an_honest_part_beside_a_model_is_read(tmp_path: Path, marker: Path) -> None:
    np.save(beside(tmp_path), np.ones((1, 3), np.float32))
    assert load_vectors(tmp_path / "model.pkl").vectors.tolist() == [[1.0, 1.0, 1.0]]


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04",
        b"\x93NUMPY",
        header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 300), }\n"),
        header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n") + b"cos\nsystem\n(S'true'\ntR.",
        header("{'descr'\x0c("),
        header("(" * 300),
        header("__import__('os').system('true')\n"),
    ],
)
def test_a_crafted_part_beside_a_model_is_refused(content: bytes, tmp_path: Path, marker: Path) -> None:
    beside(tmp_path).write_bytes(content)
    with pytest.raises(InputError, match=r"model\.pkl"):
        load_vectors(tmp_path / "model.pkl")


def test_an_array_of_objects_beside_a_model_is_refused(tmp_path: Path, marker: Path) -> None:
    object_array(beside(tmp_path), Runs(marker))
    with pytest.raises(InputError, match="missing or damaged"):
        load_vectors(tmp_path / "model.pkl")
    assert not marker.exists()


def test_one_array_for_a_million_words_is_refused(tmp_path: Path, marker: Path) -> None:
    shared = np.ones(100_000, np.float32)
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({str(number): shared for number in range(50_000)}))
    with pytest.raises(InputError, match="take more bytes than the file has"):
        load_vectors(tmp_path / "a.pkl")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A BERT of one narrow layer and random weights, in a folder that a test may spoil."""
    torch = pytest.importorskip("torch", reason="torch is not installed, so there are no text encoders")
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    BertModel(config).save_pretrained(tmp_path / "encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "b"]
    (tmp_path / "encoder" / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    return tmp_path / "encoder"


def embed(encoder: Path) -> Any:
    from class_kit.text import embed_text

    return embed_text(["a", "b"], encoder)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")  # torch's own, as it refuses the file
def test_crafted_checkpoints_are_refused(form: str, encoder: Path, tmp_path: Path, marker: Path) -> None:
    import torch

    from class_kit.training.checkpoint import load_checkpoint

    path = encoder / "pytorch_model.bin"
    if form == "pickle":
        path.write_bytes(pickle.dumps({"a": Runs(marker)}))
    else:
        torch.save({"a": Runs(marker)}, path, _use_new_zipfile_serialization=form == "zip")
    shutil.copy(path, tmp_path / "checkpoint.safetensors")
    with pytest.raises(InputError, match="damaged or no checkpoint"):
        load_checkpoint(tmp_path / "checkpoint.safetensors")
    shutil.copy(path, encoder / "model.safetensors")
    with pytest.raises(InputError, match="cannot be loaded"):
        embed(encoder)
    (encoder / "model.safetensors").unlink()
    with pytest.raises(InputError, match="cannot be loaded"):
        embed(encoder)
    assert not marker.exists()


def test_a_configuration_names_no_code(
    encoder: Path, marker: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask(*arguments: Any) -> str:
        raise AssertionError("nobody is asked whether to run a model's code")

    monkeypatch.setattr("builtins.input", ask)
    first = embed(encoder)
    (encoder / "modeling.py").write_text(f"open({str(marker)!r}, 'w').close()\n", encoding="utf-8")
    config = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    config |= {"auto_map": {"AutoModel": "modeling.Model", "AutoConfig": "modeling.Config"}}
    config |= {"attn_implementation": "attacker/kernel", "_attn_implementation": "attacker/kernel"}
    (encoder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    tokenizer = {"auto_map": {"AutoTokenizer": ["modeling.Tokenizer", "modeling.Tokenizer"]}}
    (encoder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    np.testing.assert_array_equal(embed(encoder), first)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", "[]", "holds a list"),
        ("config.json", "[" * 100_000, "not a readable configuration"),
        ("config.json", '{"model_type": "bert", "num_hidden_layers": 1000000}', "expected at most 1000"),
        ("config.json", '{"model_type": "bert", "hidden_size": -1}', "cannot be loaded"),
        ("config.json", '{"model_type": "bert", "hidden_act": "os.system"}', "cannot be loaded"),
        ("tokenizer_config.json", "[]", "cannot be loaded"),
        ("tokenizer_config.json", '{"tokenizer_class": "os.system"}', "cannot be loaded"),
        ("vocab.txt", "", "cannot be loaded"),
        ("1_Pooling/config.json", "{", "not a readable configuration"),
        ("1_Pooling/config.json", "[]", "holds a list"),
        ("model.safetensors.index.json", "[]", "holds a list"),
        ("model.safetensors.index.json", "{}", "expected a weight_map"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "../../etc/passwd"}}', "expected a weight_map"),
        ("model.safetensors.index.json", '{"weight_map": {"a": "/etc/passwd"}}', "expected a weight_map"),
        ("model.safetensors.index.json", '{"weight_map": {"a": ["b"]}}', "expected a weight_map"),
    ],
)
def test_a_damaged_model_folder_is_one_error(file: str, content: str, said: str, encoder: Path, marker: Path) -> None:
    if "index" in file:
        (encoder / "model.safetensors").unlink()
    (encoder / file).parent.mkdir(exist_ok=True)
    (encoder / file).write_text(content, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        embed(encoder)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def tampered(whole: bytes) -> dict[str, bytes]:
    """A safetensors file with a header that lies."""
    length = struct.unpack("<Q", whole[:8])[0]
    told, body = json.loads(whole[8 : 8 + length]), whole[8 + length :]
    name = next(key for key in told if key != "__metadata__")

    def put(header: bytes, size: int | None = None) -> bytes:
        return struct.pack("<Q", len(header) if size is None else size) + header + body

    def change(**values: Any) -> bytes:
        return put(json.dumps(told | {name: told[name] | values}).encode())

    return {
        "endless": put(json.dumps(told).encode(), 2**63),
        "long": put(json.dumps(told).encode(), 10**8),
        "nested": put(b"[" * 100_000),
        "no header": put(b""),
        "not JSON": put(b"\x80\x02cos\nsystem\n."),
        "behind the end": change(data_offsets=[0, 2**60]),
        "backwards": change(data_offsets=[8, 0]),
        "negative": change(data_offsets=[-1, 3]),
        "overlapping": change(data_offsets=[0, 1]),
        "huge": change(shape=[2**31, 2**31, 2**31]),
        "of objects": change(dtype="O"),
        "cut": whole[:-1],
        "with a tail": whole + b"tail",
        "of a pickle": pickle.dumps({"a": 1}),
        "empty": b"",
    }


def test_safetensors_that_lie_are_refused(tmp_path: Path, marker: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed, so there are no checkpoints")
    from class_kit.training.checkpoint import load_checkpoint, save_checkpoint

    path = tmp_path / "checkpoint.safetensors"
    save_checkpoint(path, {"a": torch.ones(4), "b": torch.zeros(2)}, {"epoch": 1}, "me")
    whole = path.read_bytes()
    assert load_checkpoint(path, "me")[1] == {"epoch": 1}
    for name, content in tampered(whole).items():
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            load_checkpoint(path, "me")
        assert path.name in str(caught.value), name


def test_what_the_cache_holds_is_never_run(marker: Path) -> None:
    """A pickle in the place of the file is made again; one in the place of a value is bytes like any other."""
    maker, payload = Maker("text", "maker", "0" * 64), pickle.dumps(Runs(marker))
    # no whole number of float32, however long the path of the marker is; a pickle ends before what follows it
    payload += bytes(4 - len(payload) % 4 + 1)

    def compute(rows: list[int]) -> list[tuple[list[int], np.ndarray, np.ndarray]]:
        return [(rows, np.ones(1), np.ones((1, 4)))]

    stored_vectors(maker, ["a"], compute)
    maker.path.write_bytes(payload * 100)
    assert stored_vectors(maker, ["a"], compute)[1].tolist() == [[1, 1, 1, 1]]
    (value,) = stored(maker, ["b"], lambda rows: [(0, payload)]).read()
    assert value == payload
    with pytest.raises(InputError, match="vectors of different lengths"):
        stored_vectors(maker, ["a", "b"], compute)
    with pytest.raises(InputError, match="vectors of different lengths"):
        stored_vectors(maker, ["b"], compute)
    assert not marker.exists()


def test_a_record_with_crafted_arrays_is_refused(tmp_path: Path, marker: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed, so there are no records of trainings")
    from class_kit.study.records import read_record

    (tmp_path / "record.json").write_text("{}", encoding="utf-8")
    names = [f"{ranking}/{part}" for ranking in ("text_to_molecule/split",) for part in ("greater", "equal", "pool")]
    held = np.empty(1, dtype=object)
    held[0] = Runs(marker)
    np.savez(tmp_path / "ranks.npz", **dict.fromkeys(names, held))
    with pytest.raises(InputError, match="no finished training"):
        read_record(tmp_path)
    assert not marker.exists()
