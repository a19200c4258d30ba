"""RollingQ as a remedy: the query of the class token is turned towards the modalities it neglects."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.nn.turned_query import fold_queries
from fuseloom.registry import register
from fuseloom.tasks import Task
from fuseloom.train.class_adapters import find_class_attention
from fuseloom.train.class_attention import ClassAttention
from fuseloom.train.remedies._base import Course, Remedy, RemedyCard
from fuseloom.train.remedies._passage import Passage
from fuseloom.train.remedies._view import FusionView, ModalityView
from fuseloom.train.rolling_query import Heads, RollingQuery

__all__ = ["RollingQueryRemedy"]


@register("rolling_query")
class RollingQueryRemedy(Remedy):
    r"""Turns the class token's query, where attention leans on one modality, as an epoch ends.

    With ``q`` the mean query and ``k_m`` the mean key of modality ``m``, it goes on at

    .. math:: q' = |q| \frac{t}{|t|}, \quad t = \sum_m a_m \frac{k_m}{|k_m|},

    where the shares ``a_m`` fall with how near the query is to the modality's keys; see
    `fuseloom.train.rolling_query.RollingQuery`, which does it. While it is trained the model has a rotation
    at its query's projection; in the released model the turned weights stand in their place.

    Paper: RollingQ, ICML 2025, arXiv:2506.11465.

    Args:
        rho: How strongly neglected modalities are preferred; at 0 the query turns to the middle.
        beta: Rate above which the query is turned; of two modalities its absolute value.
        window: Over how many of an epoch's last batches the rate is taken.
        max_rotations: How many rotations there are at most; with 0 it only watches.
        patience: Epochs for which a rate must have been too large before.
        cooldown: Epochs after a rotation without another.
        heads: Whether heads are turned together or each for itself.
        faithful: Whether as the official code does, with its rotation and batches that weigh alike.
        find: The attention in a `FusionModel`; by default its only `AttentionPool`.

    Raises:
        OptionError: an option out of its range; later a model that is no `FusionModel` or has no such
            attention, or a course without training rows.

    Example:
        >>> RollingQueryRemedy(rho=1.5).rolling.log
        []
    """

    card = RemedyCard(
        summary="Turns the class token's query towards the modalities that attention neglects.",
        touches=("features",),
        cost="a pass of the attention in the window's steps; a pass over the training rows per rotation",
        needs=("training rows",),
        paper="RollingQ, ICML 2025",
        code="https://github.com/GeWu-Lab/RollingQ_ICML2025",
        differs="The smallest rotation, rows that weigh alike, any number of modalities and heads, masks; "
        "faithful=True restores the official rotation and batches that weigh alike.",
    )

    def __init__(  # noqa: PLR0913  the knobs of one rule
        self,
        *,
        rho: float = 1.0,
        beta: float = 0.0,
        window: int = 1,
        max_rotations: int = 1,
        patience: int = 0,
        cooldown: int = 0,
        heads: Heads = "shared",
        faithful: bool = False,
        find: Callable[[nn.Module], ClassAttention] = find_class_attention,
    ) -> None:
        super().__init__()
        self.rolling = RollingQuery(
            rho=rho,
            beta=beta,
            window=window,
            max_rotations=max_rotations,
            patience=patience,
            cooldown=cooldown,
            heads=heads,
            faithful=faithful,
            find=find,
        )
        """What watches and turns; its ``log`` has an entry per epoch."""

    def prepare(self, view: ModalityView, task: Task) -> None:
        """Let a rotation act on the query."""
        self.rolling.attach(_model(view))

    def loss(self, seen: Passage) -> Tensor:
        """The model's own; in the window its attention is read."""
        moment = seen.moment
        with self.rolling.watching(_model(seen.view), moment.step, moment.num_steps):
            return seen.loss

    def start_epoch(self, view: ModalityView, course: Course) -> None:
        """Refuse a course that could not turn the query when it ends."""
        if course.train is None:
            raise OptionError("train must give the training rows, got None. Make the Course with train=.")

    def end_epoch(self, view: ModalityView, course: Course) -> None:
        """Turn the query, if it is time to."""
        assert course.train is not None
        self.rolling.group = self.group
        device = next(_model(view).parameters()).device
        passes = (view.fuse(view.encode(batch.to(device))) for batch in course.train())
        self.rolling.end_epoch(_model(view), passes)

    def release(self, view: ModalityView) -> None:
        """Leave the turned weights in place of weights and rotation."""
        fold_queries(_model(view))

    def get_extra_state(self) -> Tensor:
        """The log, and what was watched of an unfinished epoch: JSON as bytes, which any checkpoint holds."""
        state = self.rolling.state_dict()
        watched = [{name: value.tolist() for name, value in one.items()} for one in state["watched"]]
        return torch.tensor(list(json.dumps(state | {"watched": watched}).encode()), dtype=torch.uint8)

    def set_extra_state(self, state: Any) -> None:
        """Go on from what `get_extra_state` gave."""
        told = json.loads(bytes(state.tolist()))
        watched = [{name: torch.tensor(rows) for name, rows in one.items()} for one in told["watched"]]
        self.rolling.load_state_dict(told | {"watched": watched})


def _model(view: ModalityView) -> nn.Module:
    if not isinstance(view, FusionView):
        raise OptionError(
            f"view must be a FusionView, whose model has the attention, got {type(view).__name__}. Use "
            "RollingQuery, which takes any model."
        )
    return view.model
