"""The exchanges that replace a channel or a token by another modality's."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rivals._common import Rivals, named_linear, under, with_tokens

__all__ = [
    "LAYERS",
    "RIVALS",
    "PlainChannelExchange",
    "PlainTokenExchange",
    "floor_channel_exchange",
    "floor_token_exchange",
    "replaced",
    "updated",
]

_THRESHOLD = 0.02
LAYERS = (1, 3, 5, 7)
"""Numbers of the linear maps of a predictor of scores."""
_GOLDEN, _WORD = 1327217885, 2**31


class PlainChannelExchange(nn.Module):
    """Batch norm of each modality; where a scale is small, the mean of the others' channel instead."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.norm = nn.ModuleDict({name: _batch_norm(under(state, f"norm.{name}.")) for name in dims})
        for name in dims:
            self.register_buffer(f"open_{name}", state[f"open.{name}"].clone())

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N, D]`` or ``[B, D]`` each to the same."""
        normal = {n: self.norm[n](value.flatten(0, -2)).view_as(value) for n, value in streams.items()}
        return [self._replace(name, normal) for name in normal]

    def _replace(self, target: str, normal: Mapping[str, Tensor]) -> Tensor:
        first, *rest = (value for name, value in normal.items() if name != target)
        others = torch.stack([first, *rest]).mean(0) if rest else first
        small = self.norm[target].weight.abs() < _THRESHOLD
        return torch.where(small & self.get_buffer(f"open_{target}"), others, normal[target])


def _batch_norm(state: Mapping[str, Tensor]) -> nn.BatchNorm1d:
    norm = nn.BatchNorm1d(len(state["weight"]), track_running_stats=True)
    norm.load_state_dict({**state, "num_batches_tracked": torch.tensor(0)})
    return norm


class PlainTokenExchange(nn.Module):
    """Scores of each modality's tokens, their product with the tokens, and another's where one is small."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.predictor = nn.ModuleDict({n: _predictor(under(state, f"predictor.{n}.layers.")) for n in dims})

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, N, D]`` or ``[B, D]`` each to the same."""
        tokens = {name: with_tokens(value) for name, value in streams.items()}
        changed = updated(tokens, self.scores(tokens))
        return [value.view_as(streams[name]) for name, value in changed.items()]

    def scores(self, tokens: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of each token ``[B, N]``, from tokens ``[B, N, D]``."""
        logits = {name: self.predictor[name](value) for name, value in tokens.items()}
        return {name: value.log_softmax(-1).softmax(-1)[..., 0] for name, value in logits.items()}


def updated(tokens: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """As the official code exchanges updates: tokens times their scores, then `replaced`."""
    return replaced({name: value * scores[name][..., None] for name, value in tokens.items()}, scores)


def replaced(tokens: Mapping[str, Tensor], scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tokens ``[B, N, D]``, and another modality's where a score ``[B, N]`` is small."""
    return {
        name: torch.where(scores[name][..., None] >= _THRESHOLD, value, _donated(name, tokens))
        for name, value in tokens.items()
    }


def _donated(target: str, scaled: Mapping[str, Tensor]) -> Tensor:
    """At each place the token of the donor whose turn it is."""
    first, *rest = (value for name, value in scaled.items() if name != target)
    if not rest:
        return first
    others = torch.stack([first, *rest])  # [M - 1, B, N, D]
    place = torch.arange(others.shape[2], device=others.device)
    start = ((place // len(others)).square() % _WORD * _GOLDEN % _WORD) * len(others) // _WORD
    return others[(place + start) % len(others), :, place].transpose(0, 1)


def _predictor(state: Mapping[str, Tensor]) -> nn.Sequential:
    norm = nn.LayerNorm(len(state["0.weight"]))
    norm.load_state_dict(under(state, "0."))
    first, *rest = (named_linear(state, str(number)) for number in LAYERS)
    return nn.Sequential(norm, first, *(layer for linear in rest for layer in (nn.GELU(), linear)))


def floor_channel_exchange(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """No product of matrices: one scaling of every value."""
    return [value * state[f"norm.{name}.weight"] for name, value in streams.items()]


def floor_token_exchange(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """The four products of each predictor, and one scaling of every value."""
    out = []
    for name, value in streams.items():
        hidden = value
        for number in LAYERS:
            hidden = F.linear(hidden, state[f"predictor.{name}.layers.{number}.weight"])
        out.append(value * hidden[..., :1])
    return out


RIVALS: Rivals = {
    "channel_exchange": (PlainChannelExchange, floor_channel_exchange),
    "token_exchange": (PlainTokenExchange, floor_token_exchange),
}
