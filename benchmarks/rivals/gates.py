"""The merges with gates."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from rivals._common import Rivals, linear, named_linear, named_linears, pooled

__all__ = ["RIVALS", "PlainDynamic", "PlainGated", "floor_dynamic", "floor_gated"]


class PlainGated(nn.Module):
    """One linear map per modality, and one of their concatenation to all gates, as the lecture has it."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        self.embed = named_linears(state, "embed", dims)
        rows = [torch.cat([state[f"gate.{target}_from_{name}"] for name in dims], 1) for target in dims]
        self.gate = linear(torch.cat(rows), torch.cat([state[f"gate_bias.{name}"] for name in dims]))

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        vectors = {name: pooled(value) for name, value in streams.items()}
        gates = self.gate(torch.cat(list(vectors.values()), 1)).sigmoid().chunk(len(vectors), 1)
        first, *rest = (
            gate * self.embed[name](value) for gate, (name, value) in zip(gates, vectors.items(), strict=True)
        )
        return [sum(rest, start=first)]


class PlainDynamic(nn.Module):
    """Both experts, and a perceptron whose arg-max picks one by the formula of DynMM."""

    def __init__(self, state: Mapping[str, Tensor], dims: Mapping[str, int]) -> None:
        super().__init__()
        first = next(iter(dims))
        joined = torch.cat([state[f"expert.all.weight.{name}"] for name in dims], 1)
        self.first = linear(state[f"expert.first.weight.{first}"], state["expert.first.bias"])
        self.all = linear(joined, state["expert.all.bias"])
        self.gate = nn.Sequential(
            linear(state[f"gate.weight.{first}"], state["gate.bias"]),
            nn.ReLU(),
            named_linear(state, "gate.linears.0"),
        )

    def forward(self, streams: Mapping[str, Tensor]) -> list[Tensor]:
        """``[B, D_m]`` each to ``[B, dim]``."""
        vectors = list(map(pooled, streams.values()))
        soft = self.gate(vectors[0]).softmax(1)
        chosen = torch.zeros_like(soft).scatter(1, soft.argmax(1, keepdim=True), 1.0)
        weights = chosen - soft.detach() + soft
        return [weights[:, :1] * self.first(vectors[0]) + weights[:, 1:] * self.all(torch.cat(vectors, 1))]


def floor_gated(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """One product per modality, and one per ordered pair for the gates, each added to the one before."""
    vectors = {name: pooled(value) for name, value in streams.items()}
    out = []
    for target, value in vectors.items():
        out.append(torch.mm(value, state[f"embed.{target}.weight"].T))
        for index, (source, read) in enumerate(vectors.items()):
            weight = state[f"gate.{target}_from_{source}"].T
            out.append(torch.addmm(out.pop(), read, weight) if index else torch.mm(read, weight))
    return out


def floor_dynamic(state: Mapping[str, Tensor], streams: Mapping[str, Tensor]) -> list[Tensor]:
    """Two products of the gate, one of the first expert, one per modality of the other."""
    vectors = {name: pooled(value) for name, value in streams.items()}
    first, value = next(iter(vectors.items()))
    hidden = torch.mm(value, state[f"gate.weight.{first}"].T)
    out = [torch.mm(hidden, state["gate.linears.0.weight"].T)]
    out.append(torch.mm(value, state[f"expert.first.weight.{first}"].T))
    out.append(torch.mm(value, state[f"expert.all.weight.{first}"].T))
    for name in list(vectors)[1:]:
        out[-1] = torch.addmm(out[-1], vectors[name], state[f"expert.all.weight.{name}"].T)
    return out


RIVALS: Rivals = {
    "dynamic": (PlainDynamic, floor_dynamic),
    "gated": (PlainGated, floor_gated),
}
