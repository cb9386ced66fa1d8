"""Data stay data: no file that the kit reads runs something, and no text of a stranger acts where it is written.

Pickles have tests of their own (`test_restricted_pickle`, `test_fuzz`), and so have notebook parameters
(`test_parameters`, `test_kernels`), tables of pairs (`test_readers`), reports (`test_report`) and whole runs
(`test_notebooks`, `test_browser`).
"""

import csv
import io
import json
import os
import pickle
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from class_kit.errors import InputError
from class_kit.files import inert, write_csv
from class_kit.molecules.vectors import load_vectors
from tests.short_run import ATTACKS
from tests.tiny_bert import write_bert

ROOT = Path(__file__).parents[1]

# --- no line of the kit turns data into code: what the linter refuses, and what it does not look at

UNSAFE = """\
import pickle
import marshal as m
from pickle import loads
from dill.source import x
import shelve
eval('1')
exec(text)
import os; os.system(x)
from os import popen as p; p(x)
import subprocess as s; s.run(x, shell=True)
import torch; torch.load(x)
import torch as t; f = t.load
import pandas as pd; pd.read_pickle(x)
import joblib; joblib.load(x)
import yaml; yaml.load(x)
import yaml; yaml.load(x, Loader=yaml.UnsafeLoader)
import runpy
"""
FLAG = re.compile(r"\b(allow_pickle|weights_only|trust_remote_code)\b[\"'\]]*\s*[=:](?!=)\s*(\w+)")
SAFE_FLAGS = {("allow_pickle", "False"), ("weights_only", "True"), ("trust_remote_code", "False")}


def test_the_linter_refuses_each_way_to_run_data() -> None:
    command = [sys.executable, "-m", "ruff", "check", "--output-format=json", "--stdin-filename=class_kit/x.py", "-"]
    found = subprocess.run(command, input=UNSAFE, cwd=ROOT, capture_output=True, text=True, check=False)
    security = {each["location"]["row"] for each in json.loads(found.stdout) if re.match("S|TID", each["code"])}
    assert security == set(range(1, UNSAFE.count("\n") + 1))


def test_no_flag_lets_data_become_code() -> None:
    """In the package and the notebooks each of these is the one safe value, written out."""
    files = [*(ROOT / "class_kit").rglob("*.py"), *(ROOT / "notebooks").rglob("*.ipynb")]
    found = {flag for path in files for flag in FLAG.findall(path.read_text(encoding="utf-8"))}
    assert ("trust_remote_code", "False") in found
    assert found <= SAFE_FLAGS
    for bad in (
        "f(allow_pickle = wanted)",
        "{'weights_only': 0}",
        "o['allow_pickle'] = 1",
        "f(trust_remote_code=None)",
    ):
        assert not set(FLAG.findall(bad)) <= SAFE_FLAGS


# --- files that would run something, or that lie about what they hold: one error, and nothing has run


class Runs:
    """On being unpickled, leaves a file behind."""

    def __init__(self, marker: Path, how: str = "system") -> None:
        self.marker, self.how = marker, how

    def __reduce__(self) -> tuple[Any, ...]:
        if self.how == "system":
            return os.system, (f"touch '{self.marker}'",)
        if self.how == "eval":
            return eval, (f"open({str(self.marker)!r}, 'w')",)
        return Path.touch, (self.marker,)


def array_file(save: Callable[..., None], value: Any) -> bytes:
    """What `save` writes of an array with one object."""
    held, buffer = np.empty(1, dtype=object), io.BytesIO()
    held[0] = value
    save(buffer, held, allow_pickle=True)
    return buffer.getvalue()


def torch_file(value: Any, zipped: bool) -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save({"a": value}, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def tensors_file(told: dict[str, Any]) -> bytes:
    """A safetensors file of one number, of which the header says something else."""
    header = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]} | told}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(4)


def many_words(_: Runs) -> bytes:
    shared = np.ones(100_000, np.float32)
    return pickle.dumps({str(number): shared for number in range(50_000)})


def numpy_header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


# a gensim model whose vectors lie in a file beside it
MODEL = (
    b"\x80\x02cgensim.models.keyedvectors\nKeyedVectors\n)\x81}(X\x08\x00\x00\x00__numpys](X\x07\x00\x00\x00vectorse"
    b"X\x0c\x00\x00\x00index_to_key](X\x01\x00\x00\x00ae"
    b"ub."
)
BESIDE, WEIGHTS = "model.pkl.vectors.npy", "encoder/pytorch_model.bin"
CONFIG, TOKENIZER, POOLING = (f"encoder/{name}.json" for name in ("config", "tokenizer_config", "1_Pooling/config"))
LIES = [{"data_offsets": [0, 2**60]}, {"data_offsets": [8, 0]}, {"data_offsets": [-1, 3]}, {"shape": [2**31] * 3}]
CRAFTED: list[tuple[str, bytes | str | Callable[[Runs], bytes], str]] = [
    ("a.pkl", lambda bad: pickle.dumps({"UNK": bad}), "a.pkl"),
    ("a.npy", lambda bad: array_file(np.save, {"UNK": bad}), "a.npy"),
    ("a.npz", lambda bad: array_file(np.savez, bad), "a.npz"),
    ("a.npy", lambda bad: array_file(np.savez, bad), "a.npy"),
    ("a.pkl", many_words, "take more bytes than the file has"),
    (BESIDE, lambda bad: array_file(np.save, bad), "missing or damaged"),
    (BESIDE, b"", "model.pkl"),
    (BESIDE, b"PK\x03\x04", "model.pkl"),
    (BESIDE, b"\x93NUMPY", "model.pkl"),
    (BESIDE, numpy_header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 300), }\n"), "model.pkl"),
    (BESIDE, numpy_header("{'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n") + MODEL, "model.pkl"),
    (BESIDE, numpy_header("{'descr'\x0c("), "model.pkl"),
    (BESIDE, numpy_header("(" * 300), "model.pkl"),
    (BESIDE, numpy_header("__import__('os').system('true')\n"), "model.pkl"),
    ("checkpoint.safetensors", lambda bad: pickle.dumps({"a": bad}), "damaged or not a checkpoint"),
    ("checkpoint.safetensors", lambda bad: torch_file(bad, True), "damaged or not a checkpoint"),
    ("checkpoint.safetensors", struct.pack("<Q", 2**63) + b"{}", "damaged or not a checkpoint"),
    ("checkpoint.safetensors", struct.pack("<Q", 100_000) + b"[" * 100_000, "damaged or not a checkpoint"),
    *(
        ("checkpoint.safetensors", tensors_file(told), "damaged or not a checkpoint")
        for told in (*LIES, {"dtype": "O"})
    ),
    ("encoder/model.safetensors", lambda bad: torch_file(bad, True), "cannot be loaded"),
    (WEIGHTS, lambda bad: pickle.dumps({"a": bad}), "cannot be loaded"),
    (WEIGHTS, lambda bad: torch_file(bad, True), "cannot be loaded"),
    (WEIGHTS, lambda bad: torch_file(bad, False), "cannot be loaded"),
    (CONFIG, "[]", "holds a list"),
    (CONFIG, "[" * 100_000, "not a readable configuration"),
    (CONFIG, '{"model_type": "bert", "num_hidden_layers": 1000000}', "expected at most 1000"),
    (CONFIG, '{"model_type": "bert", "hidden_size": -1}', "cannot be loaded"),
    (CONFIG, '{"model_type": "bert", "hidden_act": "os.system"}', "cannot be loaded"),
    (TOKENIZER, "[]", "cannot be loaded"),
    (TOKENIZER, '{"tokenizer_class": "os.system"}', "cannot be loaded"),
    ("encoder/vocab.txt", "", "cannot be loaded"),
    (POOLING, "{", "not a readable configuration"),
    (POOLING, "[]", "holds a list"),
]


@pytest.fixture
def marker(own_cache: Path, tmp_path: Path) -> Path:
    """Where a payload would leave its mark; the cache is the test's own."""
    return tmp_path / "it-ran"


@pytest.fixture(scope="module")
def whole_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT of random weights."""
    folder = tmp_path_factory.mktemp("whole") / "encoder"
    folder.mkdir()
    return Path(write_bert(folder))


def read(path: Path) -> Any:
    """Read a file as the kit does: as vectors, as a checkpoint, or as a part of a text encoder."""
    if path.suffix == ".safetensors" and path.parent.name != "encoder":
        from class_kit.training.checkpoint import load_checkpoint

        return load_checkpoint(path, "me")
    for folder in path.parents:
        if folder.name == "encoder":
            from class_kit.text import embed_text

            return embed_text(["a", "b"], folder)
    return load_vectors(path.with_name("model.pkl") if path.name == BESIDE else path)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")  # torch's own, as it refuses the file
@pytest.mark.parametrize(("name", "content", "said"), CRAFTED, ids=[f"{at}-{row[0]}" for at, row in enumerate(CRAFTED)])
def test_a_crafted_file_is_one_error_and_runs_nothing(name, content, said, whole_encoder, tmp_path, marker) -> None:
    shutil.copytree(whole_encoder, tmp_path / "encoder")
    if name == WEIGHTS:
        (tmp_path / "encoder" / "model.safetensors").unlink()
    (tmp_path / "model.pkl").write_bytes(MODEL)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    made = content(Runs(marker)) if callable(content) else content
    path.write_bytes(made.encode() if isinstance(made, str) else made)
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.usefixtures("marker")
def test_an_encoder_s_configuration_names_no_code(whole_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(whole_encoder, tmp_path / "encoder")
    config = json.loads((tmp_path / CONFIG).read_text(encoding="utf-8"))
    config |= {"attn_implementation": "attacker/kernel", "_attn_implementation": "attacker/kernel"}
    (tmp_path / CONFIG).write_text(json.dumps(config), encoding="utf-8")
    np.testing.assert_array_equal(read(tmp_path / CONFIG), read(whole_encoder / "config.json"))


# --- text that would act: in a spreadsheet, a table of a paper, a picture, a name of a file, a terminal

FORMULA = re.compile(r'[\s"]*[=+\-@|%＝＋－＠]')
tricky = st.lists(st.sampled_from([*"=+-@|%;,\t\r\n\"' aC1", "＝", "cmd|' /C calc'!A0", *ATTACKS]), max_size=8).map(
    "".join
)


@settings(deadline=None, max_examples=200)
@given(cells=st.lists(tricky, min_size=1, max_size=4))
def test_no_cell_is_a_formula_however_a_spreadsheet_splits_it(cells: list[str], tmp_path_factory: Any) -> None:
    path = tmp_path_factory.getbasetemp() / "inert.csv"
    write_csv(path, cells, [cells])
    text = path.read_text(encoding="utf-8")
    for delimiter in ",;\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
            assert not any(FORMULA.match(cell) for cell in row if delimiter == "," or cell not in {"", '"'})


def test_numbers_and_plain_text_stay_as_they_are() -> None:
    for value in (-1, 0.5, "1,2-dimethylbenzene", "a = b", "C[C@@H](N)C(=O)O", "5'-AMP; adenylate", ""):
        assert inert(value) == value
    assert [inert(text) for text in ("=1", "-1", " =1", '"=1', "\t1", "a;=1", "a\n@b", None)] == [
        *("'=1", "'-1", "' =1", "'\"=1", "'\t1", "a;'=1", "a\n'@b", "")
    ]


def test_tables_for_papers_say_attacks_and_do_not_obey_them() -> None:
    import pandas as pd

    from class_kit.study.tables import latex_table

    lines = latex_table(pd.DataFrame({"arm": ATTACKS, ATTACKS[11]: "1.0"}), caption="\n".join(ATTACKS))
    body = lines.splitlines()
    assert len(body) == len(ATTACKS) + 7
    commands = set(re.findall(r"\\([a-zA-Z]+)", lines))
    allowed = {"begin", "end", "toprule", "midrule", "bottomrule", "to", "cdot", "alpha", "beta", "gamma", "lambda"}
    assert commands <= allowed | {"sigma"} | {name for name in commands if name.startswith("text")}
    assert lines.count(r"\end{tabular}") == 1
    assert not {"\x1b", "\x9b", "\u202e", "\r"} & set(lines)
    # an odd number of backslashes would be one that escapes the next sign
    assert not re.search(r"(?<!\\)(?:\\\\)*[&](?! )", "".join(body[4:-3]))


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "{", '{"task": [], "digest": "x"}', '{"task": {"pairs": ["a"]}, "digest": "x"}', '{"task": {}}'),
        '{"task": {"pairs": "corpus", "text_encoder": "minilm", "rejected_to": "hit"}, "digest": "x"}',
    ],
)
def test_a_training_from_a_stranger_names_no_file_to_be_written(content, here, monkeypatch, kit) -> None:
    monkeypatch.setattr("class_kit.study.records.read_record", lambda folder: None)
    (here / "run").mkdir()
    (here / "run" / "record.json").touch()
    (here / "run" / "task.json").write_text(content, encoding="utf-8")
    said = kit("evaluate", "run", code=2)
    assert ("'rejected_to' is unknown" in said) == ("hit" in content)
    assert not (here / "hit").exists()
