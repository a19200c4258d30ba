"""NIC-Att, MuSE's captioning decoder: an LSTM that looks at an image for every word that it writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import MaskError, ModalityError, OptionError
from fuseloom.losses.captions import caption_loss, doubly_stochastic_loss
from fuseloom.nn.attentive_lstm import Memory, attentive_lstm, attentive_step
from fuseloom.nn.beam_search import Next, Sequences, Step, Stop, beam_search, sample_sequences
from fuseloom.nn.dropout import Dropout
from fuseloom.nn.masked import masked_mean

__all__ = [
    "Captioner",
    "Marks",
    "convert_captioner",
    "official_captioner",
]

_SPREAD = 0.1
_LONGEST = 63
_OFFICIAL = {
    "attention.encoder_att.": "key.",
    "attention.decoder_att.": "query.",
    "attention.full_att.": "score.",
    "embedding.": "embedding.",
    "decode_step.": "cell.",
    "init_h.": "first_hidden.",
    "init_c.": "first_cell.",
    "f_beta.": "gate.",
    "fc.": "words.",
}
"""Prefix in the official TextDecoder -> prefix in ours."""
_INERT = "attention.full_att.bias"
"""It moves all scores of a softmax alike, so it is not among our weights."""


@dataclass(frozen=True, kw_only=True)
class Marks:
    """Numbers of the words that are none, as in `fuseloom.data.captions`."""

    pad: int = 0
    start: int = 1
    end: int = 2


_MARKS = Marks()


class Captioner(nn.Module):
    r"""Image tokens to a caption, word by word, each from a gated look at the image.

    .. math::
        \alpha_t &= \mathrm{softmax}_p\, w^\top \mathrm{relu}(W_k x_p + W_q h_{t-1}) \\
        v_t &= \sigma(W_g h_{t-1}) \odot \sum_p \alpha_{tp} x_p \\
        (h_t, c_t) &= \mathrm{LSTM}([e(y_t); v_t], (h_{t-1}, c_{t-1})) \\
        p(y_{t+1}) &= \mathrm{softmax}(W_o h_t)

    ``h_0`` and ``c_0`` are linear in the mean of the image tokens. In MuSE its loss reaches the image encoder
    in training, and inference does without it.

    Paper: Xu et al., 2015, "Show, Attend and Tell", arXiv:1502.03044; in MuSE arXiv:2309.02190.
    Differs from the official code: rows keep their order, where that one sorts them by length; image tokens
    may be masked; the bias of the scores, which a softmax cannot see, is left out.

    Cost grows with the length ``T`` that captions are padded to: that of the longest in the batch is enough.

    Args:
        dim: Width of the image tokens.
        num_words: ``V``, size of the vocabulary.
        attention_dim: Width in which words and image are compared.
        embedding_dim: Width of a word.
        hidden_dim: Width of the LSTM.
        dropout: Probability of dropping a feature of ``h_t`` before the words, in training.
        marks: Numbers of padding, start and end in the vocabulary.

    Example:
        >>> captioner = Captioner(6, num_words=9).eval()
        >>> image, captions = torch.randn(2, 4, 6), torch.tensor([[1, 5, 7, 2], [1, 8, 2, 0]])
        >>> logits, attention = captioner(image, captions, captions != 0)
        >>> logits.shape, (attention.sum(-1) > 0.99).tolist()
        (torch.Size([2, 3, 9]), [[True, True, True], [True, True, False]])
        >>> captions = captioner.search(image, width=3, max_length=5)
        >>> captions.scores[:, 0] >= captions.scores[:, 1]
        tensor([True, True])
    """

    def __init__(
        self,
        dim: int,
        num_words: int,
        *,
        attention_dim: int = 512,
        embedding_dim: int = 512,
        hidden_dim: int = 512,
        dropout: float = 0.5,
        marks: Marks = _MARKS,
    ) -> None:
        super().__init__()
        if not all(0 <= mark < num_words for mark in vars(marks).values()):
            raise OptionError(f"marks must be among the {num_words} words, got {marks}.")
        self.marks = marks
        self.embedding = nn.Embedding(num_words, embedding_dim)
        self.first_hidden = nn.Linear(dim, hidden_dim)
        self.first_cell = nn.Linear(dim, hidden_dim)
        self.key = nn.Linear(dim, attention_dim)
        self.query = nn.Linear(hidden_dim, attention_dim)
        self.score = nn.Linear(attention_dim, 1, bias=False)
        self.gate = nn.Linear(hidden_dim, dim)
        self.cell = nn.LSTMCell(embedding_dim + dim, hidden_dim)
        self.dropout = Dropout(dropout)
        self.words = nn.Linear(hidden_dim, num_words)
        nn.init.uniform_(self.embedding.weight, -_SPREAD, _SPREAD)
        nn.init.uniform_(self.words.weight, -_SPREAD, _SPREAD)
        nn.init.zeros_(self.words.bias)

    def forward(
        self, image: Tensor, captions: Tensor, mask: Tensor | None = None, image_mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Logits of each next word of given captions, and where the model looked for it.

        Args:
            image: Image tokens ``[B, P, D]``.
            captions: Numbers of words ``[B, T]``, from the start mark to the end mark.
            mask: ``[B, T]``, True = real: a beginning of each row, the marks included.
            image_mask: ``[B, P]``, True = real.

        Returns:
            Logits ``[B, T - 1, V]`` and attention ``[B, T - 1, P]``, the latter in float32 at least. Both are
            zero where the next word is not real.

        Raises:
            MaskError: a mask that is not boolean, or does not fit.
            ModalityError: image or captions of another shape or type.
        """
        self._check(image, image_mask)
        _check_captions(captions, mask, image.shape[0])
        memory, hidden, cell = self._look(image, image_mask)
        told = captions if mask is None else captions.masked_fill(~mask, self.marks.pad)
        outputs, attention = attentive_lstm(memory, self._inputs(told[:, :-1]), hidden, cell)
        logits = self.words(self.dropout(outputs))
        if mask is None:
            return logits, attention
        ended = ~mask[:, 1:, None]
        return logits.masked_fill(ended, 0), attention.masked_fill(ended, 0)

    def loss(
        self,
        image: Tensor,
        captions: Tensor,
        mask: Tensor | None = None,
        image_mask: Tensor | None = None,
        *,
        attention_weight: float = 1.0,
    ) -> Tensor:
        """What MuSE calls ``it``: `caption_loss` and, weighted, `doubly_stochastic_loss`, of `forward`."""
        logits, attention = self(image, captions, mask, image_mask)
        spread = doubly_stochastic_loss(attention, mask, image_mask)
        return caption_loss(logits, captions, mask) + attention_weight * spread

    def search(
        self,
        image: Tensor,
        image_mask: Tensor | None = None,
        *,
        width: int = 1,
        length_penalty: float = 0.0,
        max_length: int = _LONGEST,
        early: bool = True,
        banned: Sequence[int] = (),
    ) -> Sequences:
        """The likeliest captions of each image, by beam search, without dropout.

        Args:
            image: Image tokens ``[B, P, D]``.
            image_mask: ``[B, P]``, True = real.
            width: ``W``, how many captions are followed and returned; one is greedy.
            length_penalty: Above zero longer captions rank higher, see `beam_search`.
            max_length: Most words, the end mark included.
            early: Whether to stop once all have ended, for which every word reads one value back to Python.
            banned: Words never said, such as the mark of unknown ones; padding and start never are.

        Returns:
            Tokens and mask ``[B, W, T]``, without the start mark, padded; scores ``[B, W]``, best first; as
            records the attention ``[B, W, T, P]``.
        """
        step, state, start = self.begin(image, image_mask, banned=banned)
        stop = Stop(end=self.marks.end, max_length=max_length, early=early)
        found = beam_search(step, state, start, stop, width=width, length_penalty=length_penalty)
        return self._padded(found)

    def sample(
        self,
        image: Tensor,
        image_mask: Tensor | None = None,
        *,
        count: int = 1,
        temperature: float = 1.0,
        generator: torch.Generator | None = None,
        max_length: int = _LONGEST,
        banned: Sequence[int] = (),
    ) -> Sequences:
        """``count`` captions of each image drawn word by word, without dropout; else as `search`."""
        step, state, start = self.begin(image, image_mask, banned=banned)
        stop = Stop(end=self.marks.end, max_length=max_length)
        found = sample_sequences(
            step, state, start, stop, count=count, temperature=temperature, generator=generator
        )
        return self._padded(found)

    @torch.no_grad()
    def begin(
        self, image: Tensor, image_mask: Tensor | None = None, *, banned: Sequence[int] = ()
    ) -> tuple[Step, tuple[Tensor, Tensor], Tensor]:
        """What `beam_search` and `sample_sequences` start from: step, state, and start marks."""
        self._check(image, image_mask)
        num_words = self.embedding.num_embeddings
        if wrong := [word for word in banned if not 0 <= word < num_words]:
            raise OptionError(f"banned must be among the {num_words} words, got {wrong[0]}.")
        never = torch.zeros(num_words, dtype=torch.bool, device=image.device)
        # Where one mark stands for all, as for GPT-2, it is said: it ends a caption.
        never[[*({self.marks.pad, self.marks.start} - {self.marks.end}), *banned]] = True
        memory, hidden, cell = self._look(image, image_mask)
        start = torch.full(image.shape[:1], self.marks.start, device=image.device)
        return partial(self._say, memory, never), (hidden, cell), start

    def _say(self, memory: Memory, never: Tensor, words: Tensor, state: tuple[Tensor, ...]) -> Next:
        hidden, cell, attention = attentive_step(memory, self._inputs(words), *state)
        return Next(self.words(hidden).masked_fill(never, -torch.inf), (hidden, cell), attention)

    def _inputs(self, words: Tensor) -> Tensor:
        """What words give to the gates of the LSTM, ``[B, W]`` to ``[B, W, 4H]``."""
        weight = self.cell.weight_ih[:, : self.embedding.embedding_dim]
        return F.linear(self.embedding(words), weight, self.cell.bias_ih)

    def _look(self, image: Tensor, mask: Tensor | None) -> tuple[Memory, Tensor, Tensor]:
        """What no word changes, and the state before the first, ``[B, H]`` twice."""
        real = image if mask is None else image.masked_fill(~mask[..., None], 0)
        mean = masked_mean(real, mask)
        hidden, cell = self.first_hidden(mean), self.first_cell(mean)
        keys = self.key(real)
        # Autocast casts parameters once, but what is made of them in every step: so here, once.
        weight = torch.cat([self.query.weight, self.gate.weight, self.cell.weight_hh])
        bias = torch.cat([self.query.bias, self.gate.bias, self.cell.bias_hh])
        memory = Memory(
            tokens=real.to(keys.dtype),
            keys=keys,
            score=self.score.weight[0].to(keys.dtype),
            hidden_weight=weight.to(keys.dtype),
            hidden_bias=bias.to(keys.dtype),
            seen_weight=self.cell.weight_ih[:, self.embedding.embedding_dim :].to(keys.dtype),
            mask=mask,
        )
        return memory, hidden, cell.to(torch.promote_types(cell.dtype, torch.float32))

    def _padded(self, found: Sequences) -> Sequences:
        return replace(found, tokens=found.tokens.masked_fill(~found.mask, self.marks.pad))

    def _check(self, image: Tensor, mask: Tensor | None) -> None:
        width = self.key.in_features
        if image.ndim != 3 or image.shape[2] != width:
            raise ModalityError(f"image must be tokens [B, P, {width}], got {list(image.shape)}.")
        _check_mask("image_mask", mask, image.shape[:2])


def convert_captioner(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `Captioner` from that of the official ``TextDecoder``.

    Args:
        official: Keys such as ``attention.full_att.weight``, as they stand under ``text_decoder.`` in a
            checkpoint.

    Raises:
        OptionError: a key that the official class does not have.
    """
    return {_renamed(key, _OFFICIAL): value for key, value in official.items() if key != _INERT}


def official_captioner(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of the official ``TextDecoder`` from that of `Captioner`; the bias it has besides is zero.

    Raises:
        OptionError: a key that `Captioner` does not have.
    """
    names = {ours: theirs for theirs, ours in _OFFICIAL.items()}
    official = {_renamed(key, names): value for key, value in state.items()}
    return official | {_INERT: torch.zeros_like(state["score.weight"][0, :1])}


def _renamed(key: str, names: Mapping[str, str]) -> str:
    for prefix, name in names.items():
        if key.startswith(prefix):
            return name + key.removeprefix(prefix)
    raise OptionError(f"The weights must be those of a captioner, got {key!r} among them.")


def _check_captions(captions: Tensor, mask: Tensor | None, batch: int) -> None:
    shape, kind = list(captions.shape), captions.dtype
    if captions.ndim != 2 or kind != torch.int64 or shape[0] != batch or shape[1] < 2:
        raise ModalityError(
            f"captions must be int64 [{batch}, T], from the start mark to the end mark, got {kind} {shape}."
        )
    _check_mask("mask", mask, captions.shape)


def _check_mask(name: str, mask: Tensor | None, shape: Sequence[int]) -> None:
    if mask is not None and (mask.dtype != torch.bool or list(mask.shape) != list(shape)):
        raise MaskError(
            f"{name} must be bool of shape {list(shape)} (True = real), got {mask.dtype} of shape "
            f"{list(mask.shape)}."
        )
