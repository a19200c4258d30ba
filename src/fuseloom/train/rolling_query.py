"""RollingQ: where attention leans on one modality, the class token's query is turned towards the others."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from fuseloom.errors import OptionError
from fuseloom.metrics.attention import attention_imbalance_rate, key_cosine
from fuseloom.metrics.rolling import rolling_shares, rolling_target
from fuseloom.nn.rotation import MatrixRotation, Rotation
from fuseloom.train.class_adapters import find_class_attention
from fuseloom.train.class_attention import ClassAttention, ClassReading
from fuseloom.train.generators import undisturbed
from fuseloom.train.remedies._processes import Group, rows_of_all, sum_over
from fuseloom.train.step import apply_model
from fuseloom.types import Batch, Selection

__all__ = ["Decision", "Heads", "MeanReading", "Roll", "RollingQuery"]

Heads = Literal["shared", "each"]
"""``shared``: all heads are one query, with one imbalance rate and one rotation, as in the paper; ``each``:
every head has its own."""
Decision = Literal["rotated", "balanced", "waiting", "cooling down", "enough", "no direction", "unknown"]
"""``balanced``: no rate above beta; ``waiting``: for patience; ``enough``: as many rotations as wanted;
``no direction``: the shares of the modalities' keys cancel out."""


@dataclass(frozen=True, kw_only=True)
class Roll:
    """What happened at the end of an epoch; lists have an entry per head, or one for all."""

    epoch: int
    """From 0."""
    rates: list[float]
    """The imbalance rate (AIR) over the window, before any rotation of this epoch."""
    cosines: dict[str, list[float]]
    """Modality -> mean cosine of the query and the modality's mean key; NaN where no row has it."""
    decision: Decision
    """What was done, or why nothing was."""
    shares: dict[str, list[float]] = field(default_factory=dict)
    """Modality -> its share of the direction turned to; empty without a rotation."""
    angles: list[float] = field(default_factory=list)
    """How far it was turned, in radians; empty without a rotation."""


class MeanReading:
    """Mean query and mean keys over many rows, batch by batch; only sums are kept.

    Args:
        by_batch: Whether batches weigh alike, whatever their size, as in the official code; otherwise rows.

    Raises:
        OptionError: a mean of nothing is asked for.

    Example:
        >>> mean = MeanReading()
        >>> for rows in (torch.zeros(3, 1, 2), torch.ones(1, 1, 2)):
        ...     mean.add(ClassReading(query=rows, keys={"text": rows}))
        >>> mean.query
        tensor([[0.2500, 0.2500]], dtype=torch.float64)
    """

    def __init__(self, *, by_batch: bool = False) -> None:
        self.by_batch = by_batch
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}

    def add(self, reading: ClassReading) -> None:
        """Add the rows of a batch; those that lack a modality do not count for it."""
        for name, rows in {"": reading.query, **reading.keys}.items():
            known = ~rows.isnan().any(-1, keepdim=True)  # [B, H, 1]
            total, count = rows.double().masked_fill(~known, 0).sum(0), known.sum(0).double()
            if self.by_batch:
                total, count = total / count.clamp(min=1), (count > 0).double()
            before = self._sums.get(name, (torch.zeros_like(total), torch.zeros_like(count)))
            self._sums[name] = before[0] + total, before[1] + count

    def over(self, group: Group | None) -> Self:
        """That of the rows of all processes, each of which has some; without a group, this."""
        whole = type(self)(by_batch=self.by_batch)
        whole._sums = {
            name: (sum_over(total, group), sum_over(count, group))
            for name, (total, count) in self._sums.items()
        }
        return whole

    @property
    def query(self) -> Tensor:
        """``[H, d]`` in float64."""
        return self._mean("")

    @property
    def keys(self) -> dict[str, Tensor]:
        """Modality -> ``[H, d]`` in float64; NaN where no row has it."""
        return {name: self._mean(name) for name in self._sums if name}

    def _mean(self, name: str) -> Tensor:
        if name not in self._sums:
            raise OptionError(
                "passes must run the model on a batch whenever it is asked for the next, got none that did. "
                "Give a generator, such as (model(x) for x, _ in loader)."
            )
        total, count = self._sums[name]
        return total / count


class RollingQuery:
    """Watches the imbalance rate of attention in training, and turns the query where it is too large.

    In a loop of one's own::

        rolling = RollingQuery(rho=1.0)
        model = rolling.attach(model)
        for epoch in range(epochs):
            model.train()
            for step, (x, y) in enumerate(loader):
                with rolling.watching(model, step, len(loader)):
                    loss = loss_function(model(x), y)
                ...
            rolling.end_epoch(model, (model(x) for x, _ in loader))

    Outside the window no operation is added while nothing is turned, and afterwards only the rotation of the
    projection. With `fit`: ``fit(lambda: rolling.attach(build()), ..., after_epoch=rolling.over(train))``. In
    Lightning: `fuseloom.train.rolling_callback.RollingQueryCallback`. `fuseloom.nn.turned_query.fold_queries`
    makes a plain model of the trained one.

    Paper: RollingQ, ICML 2025, arXiv:2506.11465. Differs from the official code: the smallest rotation, rows
    weigh alike in the target, any number of heads and modalities, masks, and a rotation that a checkpoint
    keeps. ``faithful`` restores the official rotation, and batches that weigh alike.

    Args:
        rho: How strongly neglected modalities are preferred; at 0 the query turns to the middle.
        beta: Rate above which the query is turned; of two modalities its absolute value.
        window: Over how many of an epoch's last batches the rate is taken.
        max_rotations: How many rotations there are at most.
        patience: Epochs for which a rate must have been too large before.
        cooldown: Epochs after a rotation without another.
        heads: Whether heads are turned together or each for itself.
        faithful: As said above.
        find: The attention in a model; by default its only `AttentionPool`.
        group: Processes that train the model together, each on rows of its own. All turn the query alike, by
            the rows of all; each must watch and pass some.

    Raises:
        OptionError: an option out of its range.

    Example:
        >>> from fuseloom import create
        >>> model = create("attention_pool", {"text": 3, "audio": 2}, dim=4)
        >>> x = {"text": torch.randn(5, 3), "audio": torch.randn(5, 2)}
        >>> rolling = RollingQuery()
        >>> model = rolling.attach(model)
        >>> with rolling.watching(model, step=0, num_steps=1):
        ...     _ = model(x)
        >>> rolling.end_epoch(model, (model(x) for _ in range(1))).decision
        'rotated'
    """

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
        group: Group | None = None,
    ) -> None:
        _check(("rho", rho, 0), ("beta", beta, 0), ("window", window, 1), ("max_rotations", max_rotations, 0))
        _check(("patience", patience, 0), ("cooldown", cooldown, 0))
        if heads not in ("shared", "each"):
            raise OptionError(f"heads must be 'shared' or 'each', got {heads!r}.")
        self.rho, self.beta, self.window, self.max_rotations = rho, beta, window, max_rotations
        self.patience, self.cooldown, self.heads = patience, cooldown, heads
        self.faithful, self.find, self.group = faithful, find, group
        self.log: list[Roll] = []
        """One entry per epoch."""
        self._watched: list[dict[str, Tensor]] = []  # cosines [B, H] of the last batches of this epoch

    def attach(self, model: nn.Module) -> nn.Module:
        """Prepare the query's projection for rotations; once, before weights are loaded.

        Returns:
            The same model; an optimiser that has its parameters already keeps them.
        """
        attention = self.find(model)
        if attention.rotation is None:
            form = MatrixRotation if self.faithful else Rotation
            heads, width = attention.num_heads, attention.head_dim
            shared = self.heads == "shared"
            rotation = form(heads * width) if shared else form(width, num_heads=heads)
            attention.turn(rotation.to(next(model.parameters()).device))
        return model

    def watching(self, model: nn.Module, step: int, num_steps: int) -> AbstractContextManager[None]:
        """Read what the model's forward passes inside show, if this step of the epoch is in the window.

        Args:
            model: In training mode, before its weights are changed, as published.
            step: From 0.
            num_steps: Of the epoch.
        """
        return self._reading(model) if step >= num_steps - self.window else nullcontext()

    @contextmanager
    def _reading(self, model: nn.Module) -> Iterator[None]:
        with self.find(model).reading() as readings:
            yield
        if readings:  # of several passes, such as those of a remedy that hides modalities, the whole one
            found = [self._cosines(reading) for reading in readings]
            self._watched.append(min(found, key=_count_missing))
        self._watched = self._watched[-self.window :]

    def end_epoch(self, model: nn.Module, passes: Iterable[object]) -> Roll:
        """Turn the query if it is time to.

        Args:
            model: Attached; it is in evaluation mode while ``passes`` run, and then as it was.
            passes: An iterator that runs the model on a batch of the training rows whenever it is asked for
                the next; it is asked only where the query is to be turned.

        Returns:
            The new entry of the log.

        Raises:
            OptionError: no batch was watched, none was passed, or the model was not attached.
        """
        attention = self._attached(model)
        rates, cosines = self._measured()
        due = rates.abs() > self.beta
        shown = {name: value.tolist() for name, value in cosines.items()}
        decision = self._decision(attention, due, unknown=bool(rates.isnan().any()))
        roll = Roll(epoch=len(self.log), rates=rates.tolist(), cosines=shown, decision=decision)
        if roll.decision == "rotated":
            mean = self._mean_reading(model, attention, passes)
            roll = self._turn(attention, mean, cosines, due=due, roll=roll)
        self._watched = []
        self.log.append(roll)
        return roll

    def over(self, rows: Batch | Selection, *, batch_size: int = 512) -> Callable[[nn.Module], Roll]:
        """What to do after each epoch with rows in memory: `end_epoch`, the window being their last batches.

        They are read in evaluation mode and after the epoch's last step, where `watching` reads before it.

        Args:
            rows: The training rows.
            batch_size: Rows at a time; a window's batches are so large.
        """

        def after_epoch(model: nn.Module) -> Roll:
            places = range(0, len(rows), batch_size)
            passes = [partial(_run, model, rows, slice(start, start + batch_size)) for start in places]
            with _evaluating(model):
                for run in passes[-self.window :]:
                    with self._reading(model):
                        run()
            return self.end_epoch(model, (run() for run in passes))

        return after_epoch

    def state_dict(self) -> dict[str, Any]:
        """The log and what was watched of an unfinished epoch; rotations are in the model's own state."""
        return {"log": [asdict(roll) for roll in self.log], "watched": self._watched}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.log = [Roll(**entry) for entry in state_dict["log"]]
        self._watched = list(state_dict["watched"])

    def _attached(self, model: nn.Module) -> ClassAttention:
        attention = self.find(model)
        if attention.rotation is None:
            raise OptionError("model must be attached before it is trained, got one that is not.")
        if not self._watched:
            raise OptionError(
                "A batch of the epoch must have been watched, got none. Run its forward pass inside "
                "watching(model, step, num_steps)."
            )
        return attention

    def _joined(self, rows: Tensor) -> Tensor:
        """``[..., H, d]`` as it is turned: of shared heads as one."""
        return rows.flatten(-2).unsqueeze(-2) if self.heads == "shared" else rows

    def _cosines(self, reading: ClassReading) -> dict[str, Tensor]:
        query = self._joined(reading.query)
        return {name: key_cosine(query, self._joined(key)) for name, key in reading.keys.items()}

    def _measured(self) -> tuple[Tensor, dict[str, Tensor]]:
        """Rates ``[H]`` and mean cosines ``[H]`` over the window."""
        device = next(iter(self._watched[-1].values())).device  # those of a checkpoint may be elsewhere
        rows = {
            name: rows_of_all(torch.cat([one[name].to(device) for one in self._watched]), self.group)
            for name in self._watched[0]
        }
        heads = range(next(iter(rows.values())).shape[1])
        rates = [attention_imbalance_rate({name: rows[name][:, head] for name in rows}) for head in heads]
        return torch.stack(rates), {name: value.nanmean(0) for name, value in rows.items()}

    def _decision(self, attention: ClassAttention, due: Tensor, *, unknown: bool) -> Decision:
        rotation = attention.rotation
        assert rotation is not None
        if len(rotation) >= self.max_rotations:
            return "enough"
        if not due.any():
            return "unknown" if unknown else "balanced"
        since = [roll.decision for roll in reversed(self.log)]
        if "rotated" in since and since.index("rotated") < self.cooldown:
            return "cooling down"
        waited = next((n for n, decision in enumerate(since) if decision != "waiting"), len(since))
        return "rotated" if waited >= self.patience else "waiting"

    def _mean_reading(
        self, model: nn.Module, attention: ClassAttention, passes: Iterable[object]
    ) -> MeanReading:
        mean = MeanReading(by_batch=self.faithful)
        with undisturbed(), torch.no_grad(), _evaluating(model), attention.reading() as readings:
            for _ in passes:
                for reading in readings:
                    mean.add(reading)
                readings.clear()
        return mean.over(self.group)

    def _turn(
        self,
        attention: ClassAttention,
        mean: MeanReading,
        cosines: Mapping[str, Tensor],
        *,
        due: Tensor,
        roll: Roll,
    ) -> Roll:
        source = self._joined(mean.query)
        keys = {name: self._joined(key) for name, key in mean.keys.items()}
        exact = {name: value.double() for name, value in cosines.items()}
        target = rolling_target(source, keys, exact, rho=self.rho)
        turned = due & (target.norm(dim=-1) > 0)
        if not turned.any():
            return Roll(**asdict(roll) | {"decision": "no direction"})
        target = torch.where(turned[:, None], target, source)  # a head that stays turns to where it is
        rotation = attention.rotation
        assert rotation is not None
        rotation.append(source, target)
        shares = rolling_shares(exact, rho=self.rho)
        angles = key_cosine(source, target).clamp(-1, 1).acos()
        shown = {
            "shares": {name: value.tolist() for name, value in shares.items()},
            "angles": angles.tolist(),
        }
        return Roll(**asdict(roll) | shown)


def _run(model: nn.Module, rows: Batch | Selection, places: slice) -> Tensor:
    return apply_model(model, rows.take(places).to(next(model.parameters()).device))


def _count_missing(cosines: Mapping[str, Tensor]) -> int:
    """In how many places rows lack a modality."""
    return sum(int(one.isnan().sum()) for one in cosines.values())


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and then every part in the mode that it was in; no gradients."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def _check(*options: tuple[str, float, float]) -> None:
    for name, value, least in options:
        if not value >= least:
            raise OptionError(f"{name} must be at least {least}, got {value}.")
