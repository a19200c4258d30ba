"""Gradients of a part's output with respect to its inputs and parameters."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fuseloom.errors import ContractError
from fuseloom.testing._case import Case
from fuseloom.types import Streams, Trace

__all__ = ["Gradients", "differentiate", "score", "traced_score"]


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """Output, and the gradients of its score; an absent name has no path to the output."""

    output: Streams
    inputs: Streams
    parameters: dict[str, Tensor]

    def all(self) -> dict[str, Tensor]:
        """Gradients of inputs and parameters under names that say which."""
        inputs = {f"input {name}": value for name, value in self.inputs.items()}
        return inputs | {f"parameter {name}": value for name, value in self.parameters.items()}


def differentiate(
    case: Case,
    part: nn.Module,
    streams: Mapping[str, Tensor],
    masks: Mapping[str, Tensor] | None = None,
    *,
    trace: Trace | None = None,
) -> Gradients:
    """Differentiate a random weighting of the output, plus the auxiliary losses where a trace is given.

    Raises:
        ContractError: the output depends on nothing.
    """
    leaves = {name: value.detach().clone().requires_grad_() for name, value in streams.items()}
    output = case.run(part, leaves, masks, trace=trace)
    loss = score(output) if trace is None else traced_score(output, trace)
    if not loss.requires_grad:
        raise ContractError("output must be differentiable, got one without a gradient.")
    parameters = {name: value for name, value in part.named_parameters() if value.requires_grad}
    found = torch.autograd.grad(loss, [*leaves.values(), *parameters.values()], allow_unused=True)
    return Gradients(
        output={name: value.detach() for name, value in output.items()},
        inputs=_reached(leaves, found[: len(leaves)]),
        parameters=_reached(parameters, found[len(leaves) :]),
    )


def _reached(names: Iterable[str], gradients: Iterable[Tensor | None]) -> dict[str, Tensor]:
    pairs = zip(names, gradients, strict=True)
    return {name: gradient for name, gradient in pairs if gradient is not None}


def traced_score(output: Mapping[str, Tensor], trace: Trace) -> Tensor:
    """`score` of the output and of the predictions filed, plus the losses, as a training step adds them."""
    total = score(output) + trace.total_loss()
    for name, prediction in trace.predictions.items():
        total = total + score({name: prediction})
    losses = [value.detach().flatten(1).square().mean(1) for value in output.values()]
    for function in trace.feedbacks.values():
        total = total + function(torch.stack(losses).sum(0))
    return total


def score(output: Mapping[str, Tensor]) -> Tensor:
    """Sum of all entries under random weights, so that nothing cancels in a normalised output."""
    generator = torch.Generator().manual_seed(17)
    total = torch.zeros(())
    for value in output.values():
        weights = torch.randn(value.shape, generator=generator).to(value)
        total = total.to(value.device) + (value * weights).sum()
    return total
