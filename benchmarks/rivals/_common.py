"""What plain formulations are made of."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn

__all__ = ["Floor", "Rivals", "linear", "named_linear", "named_linears", "pooled", "under", "with_tokens"]

Floor = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], list[Tensor]]
"""State dict of our part and streams to the results of the products that cannot be avoided."""
Rivals = Mapping[str, tuple[type[nn.Module], Floor]]
"""Part -> its plain formulation, built from the state dict of our part and dims, and its floor."""


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """Linear map with these values."""
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    layer.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return layer


def named_linear(state: Mapping[str, Tensor], name: str) -> nn.Linear:
    """Linear map whose weight and bias, if it has one, stand under a name."""
    return linear(state[f"{name}.weight"], state.get(f"{name}.bias"))


def named_linears(state: Mapping[str, Tensor], name: str, modalities: Mapping[str, int]) -> nn.ModuleDict:
    """One linear map per modality."""
    return nn.ModuleDict({modality: named_linear(state, f"{name}.{modality}") for modality in modalities})


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state dict that stands under a prefix."""
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}


def pooled(value: Tensor) -> Tensor:
    """Tokens ``[B, N, D]`` averaged; an embedding as it is."""
    return value.mean(1) if value.dim() == 3 else value


def with_tokens(value: Tensor) -> Tensor:
    """An embedding ``[B, D]`` as a single token; tokens as they are."""
    return value.unsqueeze(1) if value.dim() == 2 else value
