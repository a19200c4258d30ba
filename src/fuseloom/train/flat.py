"""All trainable parameters of a model as one tensor, so that a step costs one operation, not one for each."""

import fnmatch
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Literal, TypeVar

import torch
from torch import nn

from fuseloom.errors import OptionError, did_you_mean
from fuseloom.train.remedies import fusion_inside

__all__ = ["NoDecay", "Share", "flat_parameters", "parameter_shares"]

NoDecay = Literal["all", "none", "norms", "vectors"]
"""What weight decay leaves alone: everything, nothing, the parameters of norms, or whatever has one axis or
none, as norms and biases do."""
_Said = TypeVar("_Said")


@dataclass(frozen=True, kw_only=True)
class Share:
    """What a parameter has of the optimiser's settings."""

    rate: float = 1.0
    """By what the learning rate is multiplied."""
    decays: bool = True
    """Whether weight decay takes from it."""


@contextmanager
def flat_parameters(
    model: nn.Module,
    rates: Mapping[str, float] | None = None,
    no_decay: Mapping[str, NoDecay] | None = None,
) -> Iterator[dict[nn.Parameter, Share]]:
    """Lay parameters and gradients of a model end to end; behind the context they are on their own again.

    Inside, each parameter of the model is a view of one of those given here, and so is its gradient: an
    optimiser and the clipping of gradients work on these few. Gradients must be zeroed in place.

    Args:
        model: Its parameters without ``requires_grad`` are left as they are.
        rates: As of `parameter_shares`, like what follows.
        no_decay: What weight decay leaves alone.

    Yields:
        One parameter per device, dtype and share, with a gradient -> that share.

    Raises:
        OptionError: the model has no such module.
    """
    shares = parameter_shares(model, rates, no_decay)
    own = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def place(parameter: nn.Parameter) -> tuple[str, str, float, bool]:
        share = shares[parameter]
        return str(parameter.device), str(parameter.dtype), share.rate, share.decays

    groups = groupby(sorted(own, key=place), key=place)
    try:
        yield {_lay(list(group)): Share(rate=rate, decays=decays) for (*_, rate, decays), group in groups}
    finally:
        for parameter in own:
            parameter.data, parameter.grad = parameter.data.clone(), None


def parameter_shares(
    model: nn.Module,
    rates: Mapping[str, float] | None = None,
    no_decay: Mapping[str, NoDecay] | None = None,
) -> dict[nn.Parameter, Share]:
    """What each parameter of a model has of the optimiser's settings.

    Args:
        model: Whose.
        rates: Dotted name of a module inside, or inside what a remedy cares for -> a factor, which holds for
            all that is in it and in no other that is named. In a name ``*`` stands for anything; where
            several fit a module, the last does.
        no_decay: Likewise -> what in it weight decay leaves alone; norms are modules whose class is named so.

    Raises:
        OptionError: the model has no such module.

    Example:
        >>> model = nn.ModuleDict({"norm": nn.LayerNorm(2), "head": nn.Linear(2, 3)})
        >>> shares = parameter_shares(model, {"head": 10.0}, {"norm": "norms"})
        >>> shares[model["norm"].weight].decays, shares[model["head"].bias].rate
        (False, 10.0)
    """
    inside = fusion_inside(model)
    factors = _innermost(inside, rates or {}, option="rates")
    kept = _innermost(inside, no_decay or {}, option="no_decay")
    of_norms = {
        id(own) for module in inside.modules() if _is_norm(module) for own in module.parameters(False)
    }
    left_alone: Mapping[NoDecay, Callable[[nn.Parameter], bool]] = {
        "all": lambda parameter: True,
        "none": lambda parameter: False,
        "norms": lambda parameter: id(parameter) in of_norms,
        "vectors": lambda parameter: parameter.dim() < 2,
    }
    return {
        parameter: Share(
            rate=factors.get(id(parameter), 1.0),
            decays=not left_alone[kept.get(id(parameter), "none")](parameter),
        )
        for parameter in model.parameters()
    }


def _innermost(model: nn.Module, said: Mapping[str, _Said], *, option: str) -> dict[int, _Said]:
    """What is said of each parameter, by its identity: that of the innermost module that is named."""
    found: dict[int, _Said] = {}
    modules = dict(model.named_modules())
    for name in said:
        if name not in modules and not fnmatch.filter(modules, name):
            raise OptionError(
                f"{option} must name parts of the model, got {name!r}.{did_you_mean(name, modules)}"
            )
    for place, module in modules.items() if said else ():  # what is inside comes behind what it is in
        names = [place] if place in said else [name for name in said if fnmatch.fnmatchcase(place, name)]
        found.update((id(own), said[name]) for name in names[-1:] for own in module.parameters())
    return found


def _is_norm(module: nn.Module) -> bool:
    """By its name: libraries of backbones have norms of their own, which share no class."""
    return "Norm" in type(module).__name__


def _lay(parameters: list[nn.Parameter]) -> nn.Parameter:
    whole = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))
    whole.grad = torch.zeros_like(whole)
    sizes = [parameter.numel() for parameter in parameters]
    pieces = zip(torch.split(whole.detach(), sizes), torch.split(whole.grad, sizes), strict=True)
    for parameter, (values, gradient) in zip(parameters, pieces, strict=True):
        parameter.data, parameter.grad = values.view_as(parameter), gradient.view_as(parameter)
    return whole
