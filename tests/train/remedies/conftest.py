from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from fuseloom import Batch, create_remedy
from fuseloom.models import ModelConfig, build_model
from fuseloom.registry import lookup
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.regression import Regression
from fuseloom.train.remedies import Course, Remedied

WIDTHS = {"text": 6, "audio": 4, "video": 5}
FUSIONS = {"rolling_query": "attention_pool"}
"""Remedies that ask for a merge of their own."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A small task with absent values, and models for it."""

    task: object
    config: ModelConfig
    train: Batch
    valid: Batch

    def build(self, **changes):
        """A model with new weights."""
        return build_model(replace(self.config, **changes), self.task)

    def remedy(self, name, **options):
        """A remedy with what it cannot do without."""
        if "teachers" in lookup(name, kind="remedy").card.needs:
            options["teachers"] = dict(self.build().encoders)
        return create_remedy(name, **options)

    def remedied(self, name, *, seed=0, **changes):
        """A new model in the care of a remedy."""
        torch.manual_seed(seed)
        return Remedied(self.build(**changes), self.remedy(name), self.task)

    def course(self, epoch=0, size=16, lr=0.05):
        """What a remedy may use between epochs."""

        def parts(rows):
            return (rows.take(slice(start, start + size)) for start in range(0, len(rows), size))

        return Course(
            epoch=epoch,
            num_steps=-(-len(self.train) // size),
            train=lambda: parts(self.train),
            valid=lambda: parts(self.valid),
            optimizer=lambda parameters: torch.optim.SGD(parameters, lr=lr),
        )

    def learn(self, remedied, *, epochs=1, optimizer=None, lr=0.05):
        """The loop of one's own that `Remedied` shows; gives the losses."""
        optimizer = optimizer or torch.optim.SGD(remedied.parameters(), lr=lr)
        losses = []
        for epoch in range(epochs):
            remedied.train()
            course = self.course(epoch, lr=lr)
            remedied.start_epoch(course)
            for batch in course.train():
                for phase in remedied.phases:
                    loss = remedied.loss(batch, phase)
                    loss.backward()
                    remedied.before_step()
                    optimizer.step()
                    optimizer.zero_grad()
                    losses.append(loss.item())
            remedied.end_epoch()
        return losses


def some_rows(names, count, *, tokens, regression, generator):
    inputs, masks = {}, {}
    for name in names:
        shape = (count, 3, WIDTHS[name]) if tokens else (count, WIDTHS[name])
        inputs[name] = torch.randn(shape, generator=generator)
        if tokens:  # each of them tells
            inputs[name][..., 0] = inputs[name][:, :1, 0]
    for place, name in enumerate(names[1:]):
        shape = inputs[name].shape[:-1]
        masks[name] = torch.rand(shape, generator=generator) > 0.1
        masks[name][place :: len(names) + 3] = False  # whole rows without it
    firsts = [inputs[name].flatten(1)[:, 0] for name in names]
    target = sum(first.clamp(-1, 1) for first in firsts) if regression else sum(f > 0 for f in firsts).long()
    return Batch(inputs=inputs, masks=masks, target=target[:, None] if regression else target.clamp(max=2))


@pytest.fixture
def problem() -> Callable[..., Problem]:
    """Problems of so many modalities, of embeddings or of tokens."""

    def made(count=2, *, kind="embedding", task="classification", fusion="concat", rows=44, dropout=0.3):
        names = list(WIDTHS)[:count]
        generator = torch.Generator().manual_seed(count)
        regression = task == "regression"
        options = {"tokens": kind == "projection", "regression": regression, "generator": generator}
        return Problem(
            task=Regression(0.0, 1.0) if regression else Classification(["a", "b", "c"]),
            config=ModelConfig(
                encoders={name: {"kind": kind, "in_dim": WIDTHS[name]} for name in names},
                fusion=fusion,
                dim=8,
                dropout=dropout,
            ),
            train=some_rows(names, rows, **options),
            valid=some_rows(names, 30, **options),
        )

    return made


@pytest.fixture
def problem_for(problem) -> Callable[..., Problem]:
    """A problem that a remedy can be tried on; None where it takes fewer modalities."""

    def made(name, count=2, **options):
        most = lookup(name, kind="remedy").card.arity[1]
        if most is not None and count > most:
            return None
        return problem(count, fusion=FUSIONS.get(name, options.pop("fusion", "concat")), **options)

    return made
