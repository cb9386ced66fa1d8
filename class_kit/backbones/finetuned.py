r"""Fine-tuning: the text encoder becomes part of the model, under any backbone.

The other backbones read vectors of a frozen encoder, computed once. This one reads token ids, runs a Hugging Face
encoder on them, and passes its sentence or token vectors to the `inner` backbone; terms, adversary and full score are
the inner backbone's. The published systems of this field train this way.

- **Rates.** The encoder's weights have their own peak rate, `encoder_rate`, with the same schedule as the others': 3e-5
  beside 1e-4 in Text2Mol (Edwards et al. 2021). 0 freezes the encoder, which then runs without dropout.
- **Memory.** The texts of a batch are sorted by length, encoded in pieces of at most `piece_tokens` tokens, padding
  included, and put back in order. With `checkpointing` (Chen et al. 2016) activations are recomputed in the backward
  pass, so memory depends on the piece and not on the batch, and batches can be large, as in-batch negatives need.
- **Precision.** With bfloat16 (`TrainingConfig.precision`) only the encoder runs in bfloat16; its output and everything
  after it (losses, transport plans, gradient penalties), all weights and the optimiser's state are float32.
- **Pooling** is the encoder's own by default: the vector of the first token or the mean over all tokens, as in
  `class_kit.text.embed_text`. Token vectors are those of the text's own tokens.

The inner backbone's input scales are fitted once, to the vectors of the encoder as it was loaded. The weights stored
with a training include the encoder; its configuration and tokenizer are read from where they were found.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from class_kit.backbones import register_backbone
from class_kit.backbones.base import IdBatch, Needs, TextBatch, TokenBatch
from class_kit.backbones.layers import Size, Weight
from class_kit.backbones.wrapper import Wrapper
from class_kit.checks import check_choice, checked
from class_kit.errors import InputError
from class_kit.text.encoders import POOLINGS, TextEncoder, find_encoder, load_encoder


@register_backbone("finetuned")
class Finetuned(Wrapper):
    """Any backbone with its text encoder, trained together.

    Parameters
    ----------
    text_dim : int
        Width of the encoder's vectors.
    molecule_dim : int
        Width d_m of what the inner backbone reads of molecules.
    inner : str
        Name of the backbone on top of the encoder.
    inner_options : mapping, optional
        Its options.
    encoder : str
        As for `embed_text`: "minilm", "scibert", a folder or a hub id.
    encoder_rate : float
        Peak learning rate of the encoder, 0 or more.
    pooling : "cls", "mean" or None
        Pooling of the sentence vector; None for the encoder's own.
    piece_tokens : int
        Maximum number of tokens encoded at once, padding included; a longer text is a piece of its own.
    checkpointing : bool
        Recompute the encoder's activations in the backward pass instead of keeping them.
    """

    @checked
    def __init__(
        self,
        text_dim: Size,
        molecule_dim: Size,
        *,
        inner: str = "dual_encoder",
        inner_options: Mapping[str, Any] | None = None,
        encoder: str = "minilm",
        encoder_rate: Weight = 3e-5,
        pooling: str | None = None,
        piece_tokens: Size = 8_192,
        checkpointing: bool = True,
    ) -> None:
        super().__init__(text_dim, molecule_dim, inner, inner_options)
        self.encoder_rate, self.piece_tokens, self.checkpointing = encoder_rate, piece_tokens, checkpointing
        source = find_encoder(encoder)
        self.pooling, self.digest = check_choice("pooling", pooling or source.pooling, POOLINGS), source.digest
        self.encoder = _trainable_copy(source)
        width = int(self.encoder.config.hidden_size)
        if width != text_dim:
            raise InputError(f"text_dim={text_dim}: expected {width}, the width of text encoder {encoder!r}")
        self.encoder.requires_grad_(self.encoder_rate > 0)

    @classmethod
    def needs(cls, **options: Any) -> Needs:
        """Token ids, and the molecules that the inner backbone reads."""
        return Needs(text="ids", molecules=super().needs(**options).molecules)

    def train(self, mode: bool = True) -> Finetuned:
        """As for any module, except that a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.encoder_rate == 0:
            self.encoder.eval()
        return self

    def parameter_rates(self) -> list[tuple[Iterable[nn.Parameter], float]]:
        """The encoder's parameters, with their peak rate."""
        return [(self.encoder.parameters(), self.encoder_rate)]

    def call(self, method: str, *batches: Any, **options: Any) -> Any:
        """Call a method of the inner backbone, without autocast."""
        with torch.autocast(next(self.encoder.parameters()).device.type, enabled=False):
            return super().call(method, *batches, **options)

    def fit_inputs(self, text: IdBatch, molecules: Any) -> None:
        """Record the scales of the vectors of the encoder as it was loaded."""
        training = self.training
        self.eval()
        with torch.no_grad():
            super().fit_inputs(text, molecules)
        self.train(training)

    def critic_losses(self, text: IdBatch, molecules: Any) -> dict[str, Tensor]:
        """The inner backbone's adversary, without a gradient for the encoder."""
        with torch.no_grad():
            features = self.inner_text(text)
        return self.call("critic_losses", features, molecules)

    def inner_text(self, text: IdBatch) -> TextBatch:
        """The encoder's sentence vectors, float32, or a `TokenBatch` if the inner backbone reads one."""
        if text.encoder != self.digest:
            raise InputError("the token ids come from another encoder: expected those of this backbone's encoder")
        pieces = pieces_of(text.real.sum(1).tolist(), self.piece_tokens)
        parts = [self._piece(text.take(torch.tensor(rows, device=text.ids.device))) for rows in pieces]
        back = torch.tensor([row for rows in pieces for row in rows], device=text.ids.device).argsort()
        sentence = torch.cat([part[0] for part in parts])[back]
        if self.inner.inputs.text == "sentence":
            return sentence
        width = max(part[1].shape[1] for part in parts)
        tokens = torch.cat([nn.functional.pad(part[1], (0, 0, 0, width - part[1].shape[1])) for part in parts])[back]
        return TokenBatch(sentence, tokens, torch.arange(width, device=back.device) < text.own.sum(1)[:, None])

    def _piece(self, text: IdBatch) -> tuple[Tensor, Tensor]:
        """Sentence vectors `(B, d)`, and the vectors of the texts' own tokens `(B, T, d)`, padded at the end."""
        own, count = text.own, text.own.sum(1)
        if self.inner.inputs.text == "sentence":
            count = torch.zeros_like(count)
        width = int(count.max())
        # stable, so that tokens stay in order
        place = own.logical_not().byte().argsort(dim=1, stable=True)[:, :width].unsqueeze(-1)
        kept = torch.arange(width, device=own.device) < count[:, None]

        def run(ids: Tensor) -> tuple[Tensor, Tensor]:
            states = self.encoder(input_ids=ids, attention_mask=text.real.to(torch.int64)).last_hidden_state.float()
            return pooled(states, text.real, self.pooling), states.take_along_dim(place, 1) * kept.unsqueeze(-1)

        if self.checkpointing and self.encoder_rate > 0 and torch.is_grad_enabled():
            return checkpoint(run, text.ids, use_reentrant=False)  # type: ignore[no-any-return]
        return run(text.ids)


def pieces_of(lengths: list[int], budget: int) -> list[list[int]]:
    """Rows grouped by length, longest first, at most `budget` tokens per group with padding, or a single row.

    Parameters
    ----------
    lengths : list of int
        Number of tokens of each row.
    budget : int
        At least 1.
    """
    pieces: list[list[int]] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if pieces and (len(pieces[-1]) + 1) * lengths[pieces[-1][0]] <= budget:
            pieces[-1].append(row)
        else:
            pieces.append([row])
    return pieces


def pooled(states: Tensor, real: Tensor, pooling: str) -> Tensor:
    """Sentence vectors `(B, d)` of last hidden states `(B, T, d)`: the first token's, or the mean without padding."""
    if pooling == "cls":
        return states[:, 0]
    weights = real.unsqueeze(-1).to(states.dtype)
    return (states * weights).sum(1) / weights.sum(1)


def _trainable_copy(source: TextEncoder) -> Any:
    """A copy of the encoder as stored on disk, without the pooling layer on top, which is not used."""
    # A layer missing from the files is initialised at random, without effect on the caller's generator.
    with torch.random.fork_rng():
        loaded = load_encoder(source, "cpu")
    model = copy.deepcopy(loaded.model)
    if isinstance(getattr(model, "pooler", None), nn.Module):
        model.pooler = None
    return model
