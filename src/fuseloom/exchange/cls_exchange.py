"""Cls-guided exchange (MuSE): what matters least in one modality receives the mean of the others."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import ModalityError, OptionError, did_you_mean
from fuseloom.exchange._base import Exchange
from fuseloom.nn import TOKEN_SCORES, below_quantile, masked_quantile, nearest_fraction
from fuseloom.registry import Card, register
from fuseloom.types import Masks, Streams, Trace

__all__ = ["ClsExchange", "Mode", "Rule", "Score"]

Mode = Literal["add", "replace"]
Rule = Literal["quantile", "threshold"]
Score = Literal["attention", "cosine", "learned", "norm", "other_cls", "random"]


@register("cls_exchange")
class ClsExchange(Exchange):
    r"""The tokens to which a modality's cls attends least receive the mean of the other modalities.

    .. math:: Y_t[j] = X_t[j] + \mathbb{1}(s_t[j] < \tau_t)\, \frac{1}{M - 1} \sum_{s \ne t} \bar{X}_s,
        \quad \tau_t = \mathrm{quantile}_{\theta_t}(s_t), \quad j \ge 1

    where :math:`\bar{X}_s` is the mean of all tokens of a modality before the exchange, cls included, and the
    cls itself, token 0, is never chosen. Of ``n`` real tokens behind the cls ``ceil(theta * (n - 1))`` are
    chosen, exactly, where their scores differ; tokens that tie with the threshold are not. The choice carries
    no gradient; the means carry it to every token of the others.

    Every modality has its own length, and only its real tokens are counted, chosen and averaged. A sample
    whose other modalities are all absent keeps its values exactly.

    Paper: Zhu et al., 2023, arXiv:2309.02190 (MuSE); ``theta``, ``rule`` and ``mode`` are those of the
    published runs. Differs from the official code, which ``faithful=True`` restores: there padding counts in
    quantile and mean and is exchanged, and of a modality only as many tokens as the first one has are.

    Args:
        dims: Modality name -> width ``D_m``. A mean goes through a linear map into an unequal width.
        theta: The quantile below which tokens are chosen, or the absolute threshold; one for all, or one per
            modality.
        rule: ``quantile`` of the scores of each sample and modality, or ``threshold``: the scores themselves.
        mode: ``add`` the mean of the others to a chosen token, or ``replace`` it by that.
        score: What makes a token matter. ``attention`` that token 0 pays it: what the encoder block computed
            where ``scores`` are given, else of its plain products; its ``cosine`` with token 0; its ``norm``;
            its cosine with the cls of the others (``other_cls``); ``random`` (in evaluation a fixed scattered
            order); ``learned``: a linear map through a sigmoid, whose gradient is that of a choice that falls
            as the score rises (straight-through).
        prefix: Tokens at the start that are neither scored nor chosen; 0 for streams without a cls.
        faithful: Count, average and exchange padding, as the official code does.

    Raises:
        ModalityError: fewer than two modalities, or ``theta`` of other ones.
        OptionError: ``theta`` is outside [0, 1], ``prefix`` is negative, or an unknown rule, mode or score.

    Records:
        ``<modality>.selected``: bool ``[B, N]``; ``<modality>.scores``: ``[B, N]``; ``<modality>.threshold``:
        ``[B]``.

    Example:
        >>> exchange = ClsExchange({"text": 2, "image": 2}, theta=0.5, mode="replace")
        >>> text, image = torch.tensor([[[0.0, 1], [2, 3], [4, 5]]]), torch.ones(1, 4, 2)
        >>> scores = {"text": torch.tensor([[0.2, 0.1, 0.7]]), "image": torch.full((1, 4), 0.25)}
        >>> exchange({"text": text, "image": image}, scores=scores)["text"]
        tensor([[[0., 1.],
                 [1., 1.],
                 [4., 5.]]])
    """

    card = Card(
        summary="Tokens that matter least to the cls receive the mean of the others.",
        interaction="nonlinear",
        cost="sum_m N_m D_m, and log N_m per token; between unequal widths D_s D_t",
        parameters="none; per ordered pair of unequal widths",
        ranks=("tokens",),
        arity=(2, None),
        reads=("scores",),
        symmetric=True,
        discrete=True,
        paper="Zhu et al., 2023, arXiv:2309.02190",
        code="https://github.com/RecklessRonan/MuSE",
        differs="quantile, mean and choice are over real tokens; every modality has its own length",
    )

    def __init__(
        self,
        dims: Mapping[str, int],
        *,
        theta: float | Mapping[str, float] = 0.1,
        rule: Rule = "quantile",
        mode: Mode = "add",
        score: Score = "attention",
        prefix: int = 1,
        faithful: bool = False,
    ) -> None:
        super().__init__(dims)
        for option, value, known in (("rule", rule, Rule), ("mode", mode, Mode), ("score", score, Score)):
            _check_choice(option, value, get_args(known))
        if prefix < 0:
            raise OptionError(f"prefix must be at least 0, got {prefix}.")
        self.prefix, self.learned = prefix, score == "learned"
        thetas = self._per_modality(theta)
        self._rules = {name: _RULES[rule](value) for name, value in thetas.items()}
        self._mode, self._counting = _MODES[mode], _EveryToken if faithful else _RealTokens
        self.card = replace(
            self.card,
            interaction="additive" if score == "random" else "nonlinear",
            reads=("scores",) if score == "attention" else (),
            symmetric=len(set(thetas.values())) == 1 and not faithful,
        )
        self.score = nn.ModuleDict({name: TOKEN_SCORES[score](width) for name, width in self.dims.items()})
        pairs = [(t, s) for t in self.dims for s in self.dims if self.dims[t] != self.dims[s]]
        self.bring = nn.ModuleDict(
            {f"{t}_from_{s}": nn.Linear(self.dims[s], self.dims[t], bias=False) for t, s in pairs}
        )

    def _per_modality(self, theta: float | Mapping[str, float]) -> dict[str, float]:
        if not isinstance(theta, Mapping):
            return dict.fromkeys(self.dims, theta)
        if theta.keys() != self.dims.keys():
            raise ModalityError(f"theta must name {sorted(self.dims)}, got {sorted(theta)}.")
        return {name: theta[name] for name in self.dims}

    def exchange(self, streams: Streams, masks: Masks, *, trace: Trace | None, **reads: Any) -> Streams:
        kept = self._counting.masks(masks)
        counts = {name: mask.sum(1, keepdim=True) for name, mask in kept.items()}  # [B, 1]
        present = {name: count > 0 for name, count in counts.items()}
        means = {name: _mean(value, counts.get(name)) for name, value in streams.items()}
        scores = self._given(streams, reads.get("scores")) or self._scores(streams, kept, present)
        out = {}
        for name, tokens in streams.items():
            chosen = self._chosen(name, scores[name], kept, present)
            chosen = self._counting.within(chosen, next(iter(streams.values())).shape[1])
            weight = chosen.to(tokens.dtype)
            if self.learned:
                weight = weight + self._slope(name, scores[name], kept, present).to(tokens.dtype)
            mean = self._of_others(name, means, present)[:, None].to(tokens.dtype)  # [B, 1, D]
            out[name] = self._mode(tokens, weight[..., None], mean)
            if trace is not None and trace.keep_records:
                self._record(trace.scope(name), name, chosen, scores[name], kept.get(name))
        return out

    def _given(self, streams: Streams, scores: Mapping[str, Tensor] | None) -> Mapping[str, Tensor] | None:
        if scores is None:
            return None
        if scores.keys() != self.dims.keys():
            raise ModalityError(f"scores must be given for {sorted(self.dims)}, got {sorted(scores)}.")
        for name, value in streams.items():
            if scores[name].shape != value.shape[:2]:
                raise ModalityError(
                    f"scores of {name!r} must be [B, N] of shape {tuple(value.shape[:2])}, got "
                    f"{tuple(scores[name].shape)}."
                )
        return scores

    def _scores(self, streams: Streams, masks: Masks, present: Masks) -> Streams:
        # Only a learned score is differentiable; the others would keep a graph for nothing.
        read = streams if self.learned else {name: value.detach() for name, value in streams.items()}
        first = {name: value[:, 0] for name, value in read.items()}
        return {
            name: self.score[name](value, masks.get(name), self._of_others(name, first, present))
            for name, value in read.items()
        }

    def _of_others(self, target: str, vectors: Streams, present: Masks) -> Tensor:
        """Mean of the vectors ``[B, D]`` of the other present modalities, which are zero where absent."""
        others = [name for name in self.dims if name != target]
        total = reduce(add, (self._brought(target, name, vectors[name]) for name in others))
        if len(others) == 1:
            return total
        flags = [present[name].to(total.dtype) for name in others if name in present]
        if not flags:
            return total / len(others)
        return total / (reduce(add, flags) + (len(others) - len(flags))).clamp(min=1)

    def _brought(self, target: str, source: str, vector: Tensor) -> Tensor:
        pair = f"{target}_from_{source}"
        out: Tensor = self.bring[pair](vector) if pair in self.bring else vector
        return out

    def _chosen(self, name: str, scores: Tensor, masks: Masks, present: Masks) -> Tensor:
        mask = masks[name][:, self.prefix :] if name in masks else None
        below = self._rules[name].below(scores[:, self.prefix :], mask)
        chosen = F.pad(below, (scores.shape[1] - below.shape[1], 0))
        return self._where_others(name, chosen, present)

    def _where_others(self, name: str, chosen: Tensor, present: Masks) -> Tensor:
        """Nothing where all other modalities are absent."""
        others = [other for other in self.dims if other != name]
        if any(other not in present for other in others):
            return chosen
        return chosen & reduce(torch.logical_or, (present[other] for other in others))

    def _slope(self, name: str, scores: Tensor, masks: Masks, present: Masks) -> Tensor:
        """Zero, with the gradient of a choice that falls as the score rises, wherever there is a choice."""
        mask = masks.get(name, torch.ones_like(scores, dtype=torch.bool))
        free = F.pad(mask[:, self.prefix :], (mask.shape[1] - mask[:, self.prefix :].shape[1], 0))
        free = self._where_others(name, free, present)
        return (scores.detach() - scores).masked_fill(~free, 0)

    def _record(self, trace: Trace, name: str, chosen: Tensor, scores: Tensor, mask: Tensor | None) -> None:
        behind = None if mask is None else mask[:, self.prefix :]
        trace.record("selected", chosen)
        trace.record("scores", scores)
        trace.record("threshold", self._rules[name].bound(scores[:, self.prefix :], behind))


def _mean(values: Tensor, count: Tensor | None) -> Tensor:
    """Mean over the tokens that count, of values that are zero elsewhere."""
    return values.mean(1) if count is None else values.sum(1) / count.clamp(min=1)


class _Quantile:
    """Chooses below the quantile of the real tokens of each sample."""

    def __init__(self, theta: float) -> None:
        if not 0 <= theta <= 1:
            raise OptionError(f"theta must be in [0, 1] for rule='quantile', got {theta}.")
        self.q = nearest_fraction(theta)

    def below(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return below_quantile(scores, self.q, mask)

    def bound(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return masked_quantile(scores, self.q, mask)


class _Threshold:
    """Chooses below one number, whatever the other tokens of the sample score."""

    def __init__(self, theta: float) -> None:
        if not math.isfinite(theta):
            raise OptionError(f"theta must be finite, got {theta}.")
        self.theta = theta

    def below(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        below = scores < self.theta
        return below if mask is None else below & mask

    def bound(self, scores: Tensor, mask: Tensor | None) -> Tensor:
        return scores.new_full(scores.shape[:1], self.theta)


class _RealTokens:
    """What counts: tokens that are real, in every modality."""

    @staticmethod
    def masks(masks: Masks) -> Masks:
        return masks

    @staticmethod
    def within(chosen: Tensor, first: int) -> Tensor:
        return chosen


class _EveryToken:
    """What counts in the official code."""

    @staticmethod
    def masks(masks: Masks) -> Masks:
        return {}

    @staticmethod
    def within(chosen: Tensor, first: int) -> Tensor:
        # NOTE(bug-for-bug): its loop runs over the places of the first modality for every modality.
        return chosen & (torch.arange(chosen.shape[1], device=chosen.device) < first)


_RULES: Mapping[str, type[_Quantile | _Threshold]] = {"quantile": _Quantile, "threshold": _Threshold}
_MODES: Mapping[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    # Both give a token back to the last bit where it is not chosen, and lerp the mean where it is.
    "add": torch.addcmul,
    "replace": lambda tokens, weight, mean: torch.lerp(tokens, mean, weight),
}


def _check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise OptionError(
            f"{option} must be one of {sorted(known)}, got {value!r}.{did_you_mean(value, known)}"
        )
