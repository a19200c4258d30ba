"""All trainable parameters of a model as one tensor, so that a step costs one operation, not one for each."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.train.remedies import fusion_inside

__all__ = ["flat_parameters"]


@contextmanager
def flat_parameters(
    model: nn.Module, rates: Mapping[str, float] | None = None
) -> Iterator[dict[nn.Parameter, float]]:
    """Lay parameters and gradients of a model end to end; behind the context they are on their own again.

    Inside, each parameter of the model is a view of one of those given here, and so is its gradient: an
    optimiser and the clipping of gradients work on these few. Gradients must be zeroed in place.

    Args:
        model: Its parameters without ``requires_grad`` are left as they are.
        rates: Dotted name of a module inside, or inside what a remedy cares for -> a factor, which holds for
            all that is in it and in no other that is named.

    Yields:
        One parameter per device, dtype and factor, with a gradient -> that factor, by default 1.

    Raises:
        OptionError: the model has no such module.
    """
    factors = _factors(model, rates or {})
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def place(parameter: Tensor) -> tuple[str, str, float]:
        return str(parameter.device), str(parameter.dtype), factors[id(parameter)]

    groups = groupby(sorted(own, key=place), key=place)
    try:
        yield {_lay(list(group)): factor for (_, _, factor), group in groups}
    finally:
        for parameter in own:
            parameter.data, parameter.grad = parameter.data.clone(), None


def _factors(model: nn.Module, rates: Mapping[str, float]) -> dict[int, float]:
    """The factor of each parameter, by its identity: that of the innermost module that is named."""
    factors = {id(parameter): 1.0 for parameter in model.parameters()}
    modules = dict(fusion_inside(model).named_modules())
    for name in sorted(rates):  # so that what is inside comes behind what it is in
        if name not in modules:
            raise OptionError(
                f"rates must name parts of the model, got {name!r}.{did_you_mean(name, modules)}"
            )
        factors.update((id(parameter), rates[name]) for parameter in modules[name].parameters())
    return factors


def _lay(parameters: list[nn.Parameter]) -> nn.Parameter:
    whole = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    whole.grad = torch.zeros_like(whole)
    sizes = [parameter.numel() for parameter in parameters]
    pieces = zip(torch.split(whole.detach(), sizes), torch.split(whole.grad, sizes), strict=True)
    for parameter, (values, gradient) in zip(parameters, pieces, strict=True):
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return whole
