"""RollingQ for several layers: they are added one after another, and the last one's query is turned."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch import nn

from fuseloom.errors import OptionError
from fuseloom.nn.growing import GrowingStack
from fuseloom.train.class_attention import ClassAttention
from fuseloom.train.rolling_query import Roll, RollingQuery

__all__ = ["ProgressiveRolling"]


class ProgressiveRolling:
    """Trains a `GrowingStack` from its first layer on; each is watched and turned while it is the last.

    So only a class token is read behind the layer whose queries are turned, which is where RollingQ's rule
    holds. A layer that is no longer the last keeps its rotation and learns on.

    It is used as `RollingQuery` is, in a loop of one's own or in Lightning.

    Paper: RollingQ, ICML 2025, arXiv:2506.11465, which says that a layer is trained and rolled before the
    next is added; no code is published, and how long each is trained is not established.

    Args:
        find: The stack in a model.
        adapt: The attention of one of its layers, such as ``lambda layer: adapt(layer.self_attn, tokens)``.
        epochs: Of each layer but the last, which is trained until the end.
        options: Those of `RollingQuery` but ``find``, of each layer.

    Raises:
        OptionError: less than one epoch, or an option out of its range.

    Example:
        >>> import torch
        >>> from fuseloom.train.class_adapters import adapt
        >>> layers = [nn.TransformerEncoderLayer(8, 2, 16, batch_first=True) for _ in range(2)]
        >>> tokens = {"audio": slice(1, 4), "video": slice(4, None)}
        >>> rolling = ProgressiveRolling(
        ...     find=lambda model: model,
        ...     adapt=lambda layer: adapt(layer.self_attn, tokens),
        ...     epochs=1,
        ... )
        >>> model = rolling.attach(GrowingStack(layers))
        >>> x = torch.randn(4, 9, 8)
        >>> with rolling.watching(model, step=0, num_steps=1):
        ...     _ = model(x)
        >>> rolling.end_epoch(model, (model(x) for _ in range(1))).decision, model.depth
        ('rotated', 2)
    """

    def __init__(
        self,
        *,
        find: Callable[[nn.Module], GrowingStack],
        adapt: Callable[[nn.Module], ClassAttention],
        epochs: int,
        **options: Any,
    ) -> None:
        if epochs < 1:
            raise OptionError(f"epochs must be at least 1, got {epochs}.")
        self.find, self.epochs = find, epochs
        self._adapt, self._options = adapt, options
        RollingQuery(**options)  # refuses now what it would refuse when a model is attached
        self.layers: list[RollingQuery] = []
        """What watches each layer, from the first; each has its log."""

    def attach(self, model: nn.Module) -> nn.Module:
        """Prepare the queries of all layers; once, before weights are loaded."""
        for place in range(len(self.find(model).layers)):
            self._layer(place).attach(model)
        return model

    def watching(self, model: nn.Module, step: int, num_steps: int) -> AbstractContextManager[None]:
        """As `RollingQuery` does, of the last layer that runs."""
        return self._last(model).watching(model, step, num_steps)

    def end_epoch(self, model: nn.Module, passes: Iterable[object]) -> Roll:
        """As `RollingQuery` does, of the last layer that runs; and add the next, if it is time to."""
        stack, last = self.find(model), self._last(model)
        roll = last.end_epoch(model, passes)
        if len(last.log) >= self.epochs and stack.depth < len(stack.layers):
            stack.grow()
        return roll

    def state_dict(self) -> dict[str, Any]:
        """The logs of all layers; how many run is in the model's own state."""
        return {"layers": [layer.state_dict() for layer in self.layers]}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for place, state in enumerate(state_dict["layers"]):
            self._layer(place).load_state_dict(state)

    def _last(self, model: nn.Module) -> RollingQuery:
        return self._layer(self.find(model).depth - 1)

    def _layer(self, place: int) -> RollingQuery:
        while len(self.layers) <= place:
            found = partial(self._attention, place=len(self.layers))
            self.layers.append(RollingQuery(**self._options, find=found))
        return self.layers[place]

    def _attention(self, model: nn.Module, *, place: int) -> ClassAttention:
        return self._adapt(self.find(model).layers[place])
