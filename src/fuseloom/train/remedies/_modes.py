"""Training and evaluation modes that are changed for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

__all__ = ["modes_kept"]


@contextmanager
def modes_kept(*modules: nn.Module) -> Iterator[None]:
    """Whatever mode is set inside, behind it every part of the modules is in that which it was in.

    Example:
        >>> model = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
        >>> with modes_kept(model):
        ...     _ = model.eval()
        >>> [part.training for part in model]
        [True, False]
    """
    modes = [(part, part.training) for module in modules for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
