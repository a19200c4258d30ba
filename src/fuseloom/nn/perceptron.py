"""Multilayer perceptrons."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

__all__ = ["perceptron"]


def perceptron(sizes: Sequence[int], *, last_relu: bool = False) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them, and behind the last if asked; biases start at 0.

    Example:
        >>> [type(layer).__name__ for layer in perceptron([4, 8, 2])]
        ['Linear', 'ReLU', 'Linear']
    """
    layers: list[nn.Module] = []
    for width, next_width in pairwise(sizes):
        linear = nn.Linear(width, next_width)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*(layers if last_relu else layers[:-1]))
