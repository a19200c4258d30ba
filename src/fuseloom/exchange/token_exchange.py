"""Token exchange (TokenFusion): a token scored low takes the token of another modality at its place."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce
from operator import add, and_
from typing import Any, Literal

import torch
from torch import Tensor, nn

from fuseloom.alignment.named import named_alignments
from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.exchange._base import Exchange
from fuseloom.nn.donor import Donor, donor_by_position, donor_by_score
from fuseloom.nn.score import ScorePredictor
from fuseloom.nn.tokens import as_tokens, like_stream
from fuseloom.registry import Card, register
from fuseloom.types import Alignment, Masks, Streams, Trace

__all__ = ["Choice", "Form", "TokenExchange", "convert_token_exchange"]

Form = Literal["update", "token"]
Choice = Literal["position", "score"]

_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "form": ("update", "token"),
    "choose": ("position", "score"),
    "reduction": ("mean", "sum"),
}
_CHOICES: Mapping[Choice, Callable[[Sequence[Donor]], Donor]] = {
    "position": donor_by_position,
    "score": donor_by_score,
}


@register("token_exchange")
class TokenExchange(Exchange):
    r"""A token whose score is small is replaced by the token of another modality at the same place.

    .. math:: y_{m,i} = u_{m,i} \text{ if } s_{m,i} \ge \theta \text{, else } u_{d,i}, \quad
        u_{m,i} = s_{m,i} x_{m,i} \text{ (update) or } x_{m,i} \text{ (token)}

    A perceptron per modality predicts the scores ``s`` in [0, 1] from the tokens; the donor ``d`` is another
    modality. All read what was there before, so two low tokens swap. No gradient passes through the choice:
    in the form ``update`` scores learn through the product, a taken token's from the modality that took it;
    in the form ``token`` from the trace's loss ``token_sparsity`` alone, which draws them to zero. That loss
    is also all that brings a score below the threshold: they start near one half.

    The published network exchanges what attention adds to a token (``after_attention``), predicts scores from
    the block's ``inputs``, and has one such part for all blocks of a stage.

    A masked or absent token is no donor; a token without a donor stays. A feature map has one token per
    pixel, an embedding is one token. Streams share width, and positions unless an ``alignment`` says which of
    their tokens belong together: then a token takes the weighted mean of those aligned to it, and stays where
    none is.

    Paper: Wang et al., 2022, arXiv:2204.08721, eq. 4, 6 and 7. The form ``update`` is that of the official
    code, which made the published numbers; the paper writes ``token``.
    Differs from the official code: the loss is a mean over real tokens (``reduction="sum"``); any number of
    modalities, masks, alignments. With several donors the paper splits positions among them at random, once
    and for one length; here the split is a fixed one that any length has.

    Args:
        dims: Modality name -> width, the same for all.
        form: What is exchanged: tokens times their own score (``update``), or as they are (``token``).
        threshold: ``theta``, below which a score is small.
        donors: Modality name -> those it may take from; a modality that is left out keeps its tokens. By
            default every modality takes from all others.
        choose: Which of several donors gives: one by the token's ``position``, in even shares, or that of the
            highest ``score`` there. Either way one that is not real is passed over for one that is.
        sparsity_weight: ``lambda``, coefficient of the loss.
        reduction: ``mean`` of the scores of all real tokens, or their ``sum`` as published. A mean needs the
            ``lambda`` of the sum times the number of real tokens in a batch, all modalities together: the
            published 1e-6 is about 0.035 on average over the blocks of its largest network.

    Raises:
        ModalityError: widths differ, or ``donors`` names an unknown modality.
        OptionError: an option out of its range, or a modality that is its own donor.

    Reads:
        ``inputs``: modality name -> tokens from which the scores are predicted; the streams by default.
        ``keep``: modality name -> scores ``[B, ...]``, shaped as a mask of its stream; predicted by default.
        ``alignment``: ``<target>_from_<source>`` -> `Alignment` of the source's tokens to the target's, read
        both ways; a pair that has none shares its positions. For two modalities also one alone, of the first
        modality's tokens (source) to the second's.

    Records:
        ``<modality>.scores`` ``[B, N]``; ``<modality>.selected``, bool ``[B, N]``: which of its tokens are
        replaced.

    Example:
        >>> exchange = TokenExchange({"rgb": 4, "depth": 4})
        >>> keep = {"rgb": torch.tensor([[0.9, 0.01]]), "depth": torch.tensor([[0.5, 0.5]])}
        >>> streams = {"rgb": torch.ones(1, 2, 4), "depth": -torch.ones(1, 2, 4)}
        >>> exchange(streams, keep=keep)["rgb"][0, :, 0]
        tensor([ 0.9000, -0.5000])
    """

    card = Card(
        summary="A token scored low takes another modality's token at its place.",
        interaction="nonlinear",
        cost="sum_m 13/8 N_m D_m^2",
        parameters="per modality",
        arity=(2, None),
        reads=("inputs", "keep", "alignment"),
        aligned=True,
        discrete=True,
        paper="Wang et al., 2022, arXiv:2204.08721",
        code="https://github.com/yikaiw/TokenFusion",
        differs="the loss is a mean; any number of modalities, masks, alignments",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        form: Form = "update",
        threshold: float = 0.02,
        donors: Mapping[str, Sequence[str]] | None = None,
        choose: Choice = "position",
        sparsity_weight: float = 0.03,
        reduction: Literal["mean", "sum"] = "mean",
    ) -> None:
        super().__init__(dims)
        if len(set(self.dims.values())) > 1:
            raise ModalityError(f"Widths must be equal, got {self.dims}. Give all encoders the same width.")
        _check_options(threshold, sparsity_weight, form=form, choose=choose, reduction=reduction)
        self.form, self.threshold, self.choose = form, threshold, choose
        self.sparsity_weight, self.reduction = sparsity_weight, reduction
        self.donors = _checked_donors(donors, list(self.dims))
        self.predictor = nn.ModuleDict({name: ScorePredictor(width) for name, width in self.dims.items()})
        if donors is None and choose == "score":
            self.card = replace(self.card, symmetric=True)

    def exchange(
        self,
        streams: Streams,
        masks: Masks,
        *,
        trace: Trace | None,
        inputs: Mapping[str, Tensor] | None = None,
        keep: Mapping[str, Tensor] | None = None,
        alignment: Alignment | Mapping[str, Alignment] | None = None,
        **reads: Any,
    ) -> Streams:
        pairs = named_alignments(alignment, self.dims, batch=next(iter(streams.values())).shape[0])
        _check_positions(streams, self.donors, pairs)
        kept = {name: mask.reshape(mask.shape[0], -1) for name, mask in masks.items()}  # [B, N]
        tokens = {name: as_tokens(value) for name, value in streams.items()}
        score = self._score(inputs, streams, masks) if keep is None else _given_scores(keep, streams, kept)
        if self.form == "update":
            tokens = {name: value * score[name].to(value.dtype)[..., None] for name, value in tokens.items()}
        offers = {
            name: Donor(tokens=value, real=kept.get(name), score=score[name].detach())
            for name, value in tokens.items()
        }
        out, taken = {}, {}
        for target in self.dims:
            value, taken[target] = self._receive(target, offers, pairs)
            out[target] = like_stream(value, streams[target])
        if trace is not None:
            trace.loss("token_sparsity", self._sparsity(score, kept))
            for name in self.dims:
                trace.scope(name).record("scores", score[name])
                trace.scope(name).record("selected", taken[name])
        return out

    def _score(
        self, inputs: Mapping[str, Tensor] | None, streams: Streams, masks: Masks
    ) -> dict[str, Tensor]:
        if inputs is not None:
            given, _ = self.enter(inputs, masks)
            for name, value in given.items():
                if _places(value) != _places(streams[name]):
                    raise ModalityError(
                        f"inputs[{name!r}] must have positions {_places(streams[name])} like its stream, got "
                        f"{_places(value)}."
                    )
            streams = given
        return {name: self.predictor[name](as_tokens(value)) for name, value in streams.items()}

    def _receive(
        self, target: str, offers: Mapping[str, Donor], pairs: Mapping[str, Alignment]
    ) -> tuple[Tensor, Tensor]:
        """Tokens of a modality after the exchange, and which of them are others' ``[B, N]``."""
        own, count = offers[target], offers[target].tokens.shape[1]
        found = [offers[s].move(pairs.get(f"{target}_from_{s}"), count) for s in self.donors[target]]
        small = own.score.float() < self.threshold
        if not found:
            return own.tokens, torch.zeros_like(small)
        given = found[0] if len(found) == 1 else _CHOICES[self.choose](found)
        taken = reduce(and_, [small, *(real for real in (own.real, given.real) if real is not None)])
        return torch.where(taken[..., None], given.tokens, own.tokens), taken

    def _sparsity(self, score: Mapping[str, Tensor], kept: Masks) -> Tensor:
        real = {
            name: kept.get(name, torch.ones_like(value, dtype=torch.bool)) for name, value in score.items()
        }
        loss = reduce(add, (value.abs().masked_fill(~real[n], 0).sum() for n, value in score.items()))
        if self.reduction == "mean":
            loss = loss / reduce(add, (mask.sum() for mask in real.values())).clamp(min=1)
        return self.sparsity_weight * loss


def _places(value: Tensor) -> tuple[int, ...]:
    """Shape of the mask of a stream."""
    return (value.shape[0], *value.shape[2:]) if value.dim() == 4 else tuple(value.shape[:-1])


def _given_scores(keep: Mapping[str, Tensor], streams: Streams, kept: Masks) -> dict[str, Tensor]:
    if keep.keys() != streams.keys():
        raise ModalityError(f"keep must be given for {sorted(streams)}, got {sorted(keep)}.")
    found = {}
    for name, value in streams.items():
        if tuple(keep[name].shape) != _places(value):
            raise OptionError(
                f"keep[{name!r}] must have shape {_places(value)}, got {tuple(keep[name].shape)}."
            )
        flat = keep[name].reshape(value.shape[0], -1)
        found[name] = flat.masked_fill(~kept[name], 0) if name in kept else flat
    return found


def _check_positions(
    streams: Streams, donors: Mapping[str, Sequence[str]], pairs: Mapping[str, Alignment]
) -> None:
    for target, sources in donors.items():
        for source in sources:
            key, ours, theirs = f"{target}_from_{source}", _places(streams[target]), _places(streams[source])
            if key not in pairs and ours != theirs:
                raise ModalityError(
                    f"Streams without an alignment must share their positions, got {target!r} with {ours} "
                    f"and {source!r} with {theirs}. Pass alignment={{{key!r}: ...}}."
                )


def _check_options(threshold: float, weight: float, **words: str) -> None:
    for option, word in words.items():
        if word not in _OPTIONS[option]:
            raise OptionError(f"{option} must be one of {list(_OPTIONS[option])}, got {word!r}.")
    if threshold < 0 or weight < 0:
        raise OptionError(f"threshold and sparsity_weight must be at least 0, got {threshold} and {weight}.")


def _checked_donors(donors: Mapping[str, Sequence[str]] | None, names: Sequence[str]) -> dict[str, list[str]]:
    if donors is None:
        return {target: [source for source in names if source != target] for target in names}
    for name in [*donors, *(source for sources in donors.values() for source in sources)]:
        if name not in names:
            raise ModalityError(f"donors has an unknown modality {name!r}.{did_you_mean(name, names)}")
    if selfish := [name for name, sources in donors.items() if name in sources]:
        raise OptionError(f"donors[{selfish[0]!r}] must be other modalities, got {list(donors[selfish[0]])}.")
    return {name: list(donors.get(name, ())) for name in names}


def convert_token_exchange(official: Mapping[str, Tensor], dims: Mapping[str, int]) -> dict[str, Tensor]:
    """State dict of `TokenExchange` from one score predictor of the official code.

    Args:
        official: ``score_nets.<number>.<layer>.weight`` and ``.bias``, as they stand under
            ``score_predictor.<stage>``.
        dims: Those of the part, in the order of the official numbers.

    Raises:
        OptionError: a key that a score predictor does not have.
    """
    numbers = {f"score_nets.{number}.": name for number, name in enumerate(dims)}
    found = {}
    for key, value in official.items():
        prefix = next((prefix for prefix in numbers if key.startswith(prefix)), None)
        if prefix is None:
            raise OptionError(f"official must hold {sorted(numbers)}, got {key!r} in it.")
        found[f"predictor.{numbers[prefix]}.layers.{key.removeprefix(prefix)}"] = value
    return found
