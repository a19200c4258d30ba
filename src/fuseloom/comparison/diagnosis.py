"""A closer look at one model: every diagnosis that its rows allow, and why not of the others."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.comparison.exchange_samples import exhibited, pictured
from fuseloom.comparison.numbers import number_rows
from fuseloom.comparison.standing import drawn_rows, gradients_as_it_stands
from fuseloom.data import Dataset
from fuseloom.data.exhibit import Exhibit, exhibits
from fuseloom.diagnose.attention import Attention, AttentionQuality, attention, attention_quality
from fuseloom.diagnose.complementarity import Complementarity, Sample, complementarity
from fuseloom.diagnose.emap import Emap, emap
from fuseloom.diagnose.exchanged import Exchanged, ExchangedSample, exchanged
from fuseloom.diagnose.gradients import GradientCourse
from fuseloom.diagnose.interaction_parts import InteractionParts, interaction_parts
from fuseloom.diagnose.interaction_regression import InteractionRegression, interaction_regression
from fuseloom.diagnose.looks import looks
from fuseloom.diagnose.modality_maps import ModalityMaps, modality_maps
from fuseloom.diagnose.modality_test import ModalityTest, modality_test
from fuseloom.diagnose.model_layers import model_layers
from fuseloom.diagnose.pid import Pid, pid
from fuseloom.diagnose.positions import fixed_positions
from fuseloom.diagnose.reliance import Reliance, reliance
from fuseloom.diagnose.robustness import Robustness, RobustnessPlan, robustness
from fuseloom.diagnose.shapley import Shapley, shapley
from fuseloom.diagnose.shared_space import SharedSpace, shared_space
from fuseloom.diagnose.split import split
from fuseloom.errors import DataError, FuseloomError, ModalityError, OptionError, did_you_mean
from fuseloom.models import FusionModel
from fuseloom.models.dense_systems import DensePredictor, GridPredictor
from fuseloom.tasks import Metric, Task
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.train.fit import exact_outputs
from fuseloom.train.remedies import Remedied
from fuseloom.types import Batch, Selection

__all__ = ["DIAGNOSES", "Diagnosis", "Subject", "diagnose_model", "some_rows"]

Floats = NDArray[np.floating[Any]]

_MOST_PAIRS = 6
_MOST_NUMBERS = 6
_SEVERITIES = (0.0, 0.1, 0.2, 0.4, 0.6, 0.8)
_PERMUTATIONS = 100
_RESAMPLES = 50
_MOST_ROWS, _FEWEST_ROWS = 1000, 200
_MOST_VALUES = 2**24
_MOST_SHOWN = 6
"""Samples of each kind that are shown with their inputs."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """What is diagnosed: a model, and held-out rows with their target."""

    name: str
    model: FusionModel | GridPredictor | Remedied
    task: Task
    metric: tuple[str, Metric]
    rows: Batch
    alone: Mapping[str, Floats] = field(default_factory=dict)
    """Modality -> predictions on the same rows of a model that was trained on it alone; where some are
    missing, what needs them is left out."""
    ids: Sequence[str] | None = None
    """Names of the rows."""
    dataset: Dataset | None = None
    """Where the rows are from, as it was read; without it, what speaks of the data takes the rows alone."""
    places: Sequence[int] | None = None
    """The numbers of the rows in it."""
    show_rows: bool = True
    """Whether the diagnosis holds what some rows look like."""
    course: Callable[[], GradientCourse] | None = None
    """Gives the gradients over the model's training; without it they are those of the model as it stands, on
    these rows."""
    seed: int = 0

    @property
    def fusion(self) -> FusionModel:
        """The model as a fusion, to look inside.

        Raises:
            OptionError: a remedy predicts by parts of its own instead, or a model of dense prediction, whose
                modalities meet many times and in no one place.
        """
        if isinstance(self.model, GridPredictor):
            raise OptionError(
                "It looks at the one place where modalities are fused: dense prediction has none, as they "
                "meet in many blocks."
            )
        if isinstance(self.model, Remedied):
            raise OptionError(
                f"{self.model.remedy.name} predicts by parts of its own: the inside of the fusion says "
                "nothing of these predictions."
            )
        return self.model

    def predict(self, rows: Batch) -> Floats:
        """Predictions as the metric takes them."""
        return self.task.predict(exact_outputs(self.model, rows))

    def looks(self, place: int) -> dict[str, Exhibit]:
        """What a row looks like, by place and modality; nothing where that is not at hand, or private."""
        if self.dataset is None or self.places is None or not self.show_rows:
            return {}
        held = self.dataset.modalities
        return exhibits({name: held[name] for name in self.rows.inputs}, self.places[place])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes where each row has one of them, otherwise none."""
        if not self.task.stratified:
            return ()
        return tuple(map(str, self.task.columns(np.eye(self.task.num_outputs))["prediction"]))

    @property
    def about(self) -> dict[str, Any]:
        """What most diagnoses are told."""
        return {"model": self.name, "metric": self.metric, "seed": self.seed}


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What a closer look at a model on held-out rows says; None or empty is what ``not_told`` explains."""

    model: str
    metric: str
    rows: int
    modalities: tuple[str, ...]
    classes: tuple[str, ...] = ()
    """Their names, by number; empty where each row has no single class."""
    emap: Emap | None = None
    interaction_orders: InteractionParts | None = None
    pid: tuple[Pid, ...] = ()
    """Of each pair of modalities, at most six."""
    reliance: Reliance | None = None
    shapley: Shapley | None = None
    modality_test: ModalityTest | None = None
    gradients: GradientCourse | None = None
    interaction_regression: InteractionRegression | None = None
    """Of the data, whatever the model makes of them."""
    attention: Attention | None = None
    attention_quality: tuple[AttentionQuality, ...] = ()
    """Of each modality that a layer can turn from."""
    exchanged: Exchanged | None = None
    modality_maps: ModalityMaps | None = None
    """Of a model of dense prediction."""
    shared_space: tuple[SharedSpace, ...] = ()
    robustness: Robustness | None = None
    complementarity: Complementarity | None = None
    not_told: dict[str, str] = field(default_factory=dict)
    """Diagnosis -> why it could not be made."""


def some_rows(rows: Batch | Selection, *, most: int = _MOST_ROWS, seed: int = 0) -> torch.Tensor:
    """Places of the rows to diagnose a model on, in their order: all of few, of many a sample.

    A diagnosis predicts rows about a hundred times. Of large inputs, such as pictures, fewer are taken: 16
    million values in all, but 200 rows.

    Args:
        rows: Those that there are.
        most: At most so many.
        seed: Of the sample.

    Example:
        >>> some_rows(Batch(inputs={"x": torch.zeros(5000, 3)})).shape
        torch.Size([1000])
    """
    one = rows.take(slice(0, 1))
    values = sum(value.numel() for value in one.inputs.values())
    count = min(len(rows), most, max(_FEWEST_ROWS, _MOST_VALUES // max(values, 1)))
    generator = torch.Generator().manual_seed(seed)
    return torch.randperm(len(rows), generator=generator)[:count].sort().values


def diagnose_model(
    subject: Subject,
    *,
    only: Sequence[str] = (),
    progress: Callable[[str], None] = lambda line: None,
) -> Diagnosis:
    """Make every diagnosis, or some; the model stays as it was.

    Args:
        subject: The model and its rows.
        only: Names of `DIAGNOSES`; by default all.
        progress: Called with a line for a person before each.

    Raises:
        DataError: the rows have no target.
        OptionError: an unknown name.
    """
    if subject.rows.target is None:
        raise DataError("rows must have a target to diagnose a model on, got none.")
    if unknown := [name for name in only if name not in DIAGNOSES]:
        raise OptionError(f"Unknown diagnosis {unknown[0]!r}.{did_you_mean(unknown[0], DIAGNOSES)}")
    if isinstance(subject.model, FusionModel):
        subject = replace(subject, rows=fixed_positions(subject.model, subject.rows))
    found: dict[str, Any] = {}
    not_told = {}
    for name in only or _questions(subject):
        progress(f"diagnosing: {name.replace('_', ' ')}")
        try:
            found[name] = DIAGNOSES[name](subject)
        except FuseloomError as error:
            not_told[name] = str(error)
    return Diagnosis(
        model=subject.name,
        metric=subject.metric[0],
        rows=len(subject.rows),
        modalities=tuple(subject.rows.inputs),
        classes=subject.classes,
        not_told=not_told,
        **found,
    )


def _questions(subject: Subject) -> list[str]:
    """Every diagnosis that means something for such a model."""
    on_grid = isinstance(subject.model, GridPredictor)
    exchanges = on_grid or (isinstance(subject.model, FusionModel) and len(subject.model.exchanges) > 0)
    of_some = {"exchanged": exchanges, "modality_maps": isinstance(subject.model, DensePredictor)}
    return [name for name in DIAGNOSES if of_some.get(name, True)]


def _one_answer(subject: Subject) -> None:
    """Refuse a model that answers at many positions of a row."""
    if subject.task.on_grid:
        raise OptionError(
            f"It needs one answer for each row, and {subject.task.name} answers at each of its pixels."
        )
    if subject.task.positions_of:
        raise OptionError(
            f"It needs one answer for each row, and {subject.task.name} answers at each word of its "
            f"{subject.task.positions_of}."
        )


def _emap(subject: Subject) -> Emap:
    _one_answer(subject)
    return emap(split(subject.fusion), subject.rows, predict=subject.task.predict, **subject.about)


def _interaction_orders(subject: Subject) -> InteractionParts:
    if len(subject.rows.inputs) < 3:
        raise ModalityError("Of two modalities EMAP says it all: there is one order beyond the additive.")
    _one_answer(subject)
    return interaction_parts(
        split(subject.fusion), subject.rows, predict=subject.task.predict, **subject.about
    )


def _pid(subject: Subject) -> tuple[Pid, ...]:
    _one_answer(subject)
    pairs = list(combinations(subject.rows.inputs, 2))
    if not pairs:
        raise ModalityError("Information is shared between two modalities or more, got one.")
    if len(pairs) > _MOST_PAIRS:
        raise ModalityError(f"At most {_MOST_PAIRS} pairs of modalities are decomposed, got {len(pairs)}.")
    return tuple(
        pid(subject.rows, subject.predict, sources=pair, resamples=_RESAMPLES, seed=subject.seed)
        for pair in pairs
    )


def _reliance(subject: Subject) -> Reliance:
    return reliance(subject.predict, subject.rows, **subject.about)


def _shapley(subject: Subject) -> Shapley:
    return shapley(subject.predict, subject.rows, **subject.about)


def _modality_test(subject: Subject) -> ModalityTest:
    names = list(subject.rows.inputs)
    without = {}
    if len(names) == 2 and subject.alone.keys() >= set(names):
        without = {name: subject.alone[other] for name, other in zip(names, names[::-1], strict=True)}
    parts = split(subject.fusion)  # what permutes rows needs each of them encoded once
    return modality_test(
        lambda rows: subject.task.predict(np.asarray(parts.together(rows))),
        replace(parts.alone(subject.rows), target=subject.rows.target),
        without=without,
        permutations=_PERMUTATIONS,
        **subject.about,
    )


def _gradients(subject: Subject) -> GradientCourse:
    if len(subject.rows.inputs) < 2:
        raise ModalityError("A gradient is shared between two modalities or more, got one.")
    if subject.course is not None:
        return subject.course()
    rows = drawn_rows(subject.rows, seed=subject.seed)
    return gradients_as_it_stands(subject.fusion, rows, subject.task, name=subject.name, learnt_from=False)


def _attention(subject: Subject) -> Attention:
    found = attention(subject.fusion, subject.rows, model=subject.name, seed=subject.seed)
    seen = looks(subject.fusion, subject.rows, seed=subject.seed)
    shown = _with_inputs(subject, [one.row for one in seen])
    return replace(found, looks=tuple(replace(one, row=row) for one, row in zip(seen, shown, strict=True)))


def _attention_quality(subject: Subject) -> tuple[AttentionQuality, ...]:
    found, reasons = [], []
    for modality in subject.rows.inputs:
        try:
            found.append(
                attention_quality(
                    subject.fusion, subject.rows, modality, model=subject.name, seed=subject.seed
                )
            )
        except DataError as error:
            reasons.append(error)
    if not found:
        raise reasons[0]
    return tuple(found)


def _exchanged(subject: Subject) -> Exchanged:
    def answers(predictions: Floats) -> NDArray[Any]:
        return subject.task.columns(predictions)["prediction"]

    found = exchanged(
        subject.model if isinstance(subject.model, GridPredictor) else subject.fusion,
        subject.rows,
        subject.predict,
        answers=None if subject.task.decision == "value" else answers,
        **subject.about,
    )
    return replace(found, samples=_with_inputs(subject, found.samples))


def _modality_maps(subject: Subject) -> ModalityMaps:
    if not isinstance(subject.model, DensePredictor) or not isinstance(subject.task, Segmentation):
        raise OptionError(f"It shows labels of pixels, of which {subject.name} predicts none.")
    found = modality_maps(
        subject.model, subject.rows, subject.task.predict, classes=subject.task.labels, **subject.about
    )
    if not subject.show_rows:
        return replace(found, scenes=())
    data = {} if subject.dataset is None else subject.dataset.modalities
    scenes = (pictured(scene, subject.rows, data, ids=subject.ids) for scene in found.scenes)
    return replace(found, scenes=tuple(scenes))


def _with_inputs(subject: Subject, samples: Sequence[ExchangedSample]) -> tuple[ExchangedSample, ...]:
    """Rows with their words and pictures, where these may be shown."""
    data = None if subject.dataset is None or not subject.show_rows else subject.dataset.modalities
    return tuple(
        exhibited(sample, subject.rows, data, places=subject.places, ids=subject.ids) for sample in samples
    )


def _interaction_regression(subject: Subject) -> InteractionRegression:
    _one_answer(subject)
    names, classes = list(subject.rows.inputs), subject.classes
    if len(names) > _MOST_NUMBERS:
        raise ModalityError(f"At most {_MOST_NUMBERS} modalities are multiplied, got {len(names)}.")
    if len(classes) > 2 or not (classes or subject.task.decision == "value"):
        got = f"{len(classes)} classes" if classes else "several classes of a row"
        raise DataError(f"A regression needs a target that is a number or one of two classes, got {got}.")
    dataset, rows, target = subject.dataset, subject.rows, "target"
    if dataset is not None:
        rows = number_rows(dataset, names, subject.task, seed=subject.seed)
        target = dataset.schema.target or target
    if classes:
        return interaction_regression(rows, target=f"{target} = {classes[1]}", family="logistic")
    return interaction_regression(rows, target=target)


def _shared_space(subject: Subject) -> tuple[SharedSpace, ...]:
    return shared_space(
        model_layers(subject.fusion, subject.rows), permutations=_PERMUTATIONS, seed=subject.seed
    )


def _robustness(subject: Subject) -> Robustness:
    plan = RobustnessPlan(severities=_SEVERITIES, resamples=1000, seed=subject.seed)
    return robustness(subject.predict, subject.rows, model=subject.name, metric=subject.metric, plan=plan)


def _complementarity(subject: Subject) -> Complementarity:
    _one_answer(subject)
    if missing := sorted(subject.rows.inputs.keys() - subject.alone.keys()):
        raise ModalityError(
            f"It needs the predictions of models of one modality alone, got none of {', '.join(missing)}. "
            "`fuseloom compare` trains them and keeps them in its run folder."
        )
    found = complementarity(
        subject.alone,
        subject.predict(subject.rows),
        subject.rows,
        model=subject.name,
        ids=subject.ids,
        seed=subject.seed,
    )
    return replace(found, samples=tuple(_shown(found.samples, subject.looks)))


def _shown(samples: Sequence[Sample], looks: Callable[[int], dict[str, Exhibit]]) -> Iterator[Sample]:
    """The samples, the first of each kind with what they look like."""
    seen: Counter[str] = Counter()
    for sample in samples:
        seen[sample.kind] += 1
        few = seen[sample.kind] <= _MOST_SHOWN
        yield replace(sample, inputs=looks(sample.place)) if few else sample


DIAGNOSES: Mapping[str, Callable[[Subject], Any]] = {
    "emap": _emap,
    "interaction_orders": _interaction_orders,
    "pid": _pid,
    "reliance": _reliance,
    "shapley": _shapley,
    "modality_test": _modality_test,
    "gradients": _gradients,
    "interaction_regression": _interaction_regression,
    "attention": _attention,
    "attention_quality": _attention_quality,
    "exchanged": _exchanged,
    "modality_maps": _modality_maps,
    "shared_space": _shared_space,
    "robustness": _robustness,
    "complementarity": _complementarity,
}
"""Name, a field of `Diagnosis`, -> how it is made."""
