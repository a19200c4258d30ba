"""All trainable parameters of a model as one tensor, so that a step costs one operation, not one for each."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby

import torch
from torch import Tensor, nn

__all__ = ["flat_parameters"]


@contextmanager
def flat_parameters(model: nn.Module) -> Iterator[list[nn.Parameter]]:
    """Lay parameters and gradients of a model end to end; behind the context they are on their own again.

    Inside, each parameter of the model is a view of one of those given here, and so is its gradient: an
    optimiser and the clipping of gradients work on these few. Gradients must be zeroed in place.

    Args:
        model: Its parameters without ``requires_grad`` are left as they are.

    Yields:
        One parameter per device and dtype, with a gradient.
    """
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        yield [_lay(list(group)) for _, group in groupby(sorted(own, key=_place), key=_place)]
    finally:
        for parameter in own:
            parameter.data, parameter.grad = parameter.data.clone(), None


def _place(parameter: Tensor) -> tuple[str, str]:
    return str(parameter.device), str(parameter.dtype)


def _lay(parameters: list[nn.Parameter]) -> nn.Parameter:
    whole = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    whole.grad = torch.zeros_like(whole)
    sizes = [parameter.numel() for parameter in parameters]
    pieces = zip(torch.split(whole.detach(), sizes), torch.split(whole.grad, sizes), strict=True)
    for parameter, (values, gradient) in zip(parameters, pieces, strict=True):
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return whole
