"""What a comparison shows besides its leaderboard, as plain values: the report renders it, JSON stores it.

Where nothing else is said, it speaks of the run with the lowest validation loss on the first fold, which is
the one that is saved, and of test rows.
"""

from dataclasses import dataclass, field

from fuseloom.comparison.cooperation import Cooperation
from fuseloom.comparison.diagnosis import Diagnosis
from fuseloom.data.exhibit import Exhibit
from fuseloom.diagnose.health import Health
from fuseloom.diagnose.subsets import Subsets
from fuseloom.metrics.calibration import Bin

__all__ = [
    "Calibration",
    "Confused",
    "Confusion",
    "Disagreement",
    "Findings",
    "Fitted",
    "Guess",
    "LearningCurve",
    "Reliability",
]


@dataclass(frozen=True, kw_only=True)
class LearningCurve:
    """The losses of one training run, epoch by epoch."""

    model: str
    fold: int
    seed: int
    train: tuple[float, ...]
    """Mean loss of the steps of each epoch, auxiliary losses and dropout included."""
    valid: tuple[float, ...]
    """On validation rows after each epoch."""
    best_epoch: int
    """The epoch whose weights were kept, from 1; 0 where no validation loss was finite."""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """How well probabilities say how often they are right."""

    error: float
    """Expected calibration error of the top label, 15 bins of equal width."""
    error_equal_mass: float
    """The same with bins of equally many rows."""
    log_loss: float
    curve: tuple[Bin, ...]
    """Bins of equal width, those without rows left out."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """A model's probabilities as they are, and divided by a temperature that validation rows chose."""

    model: str
    temperature: float
    """Above one where the model was too sure."""
    before: Reliability
    after: Reliability


@dataclass(frozen=True, kw_only=True)
class Confused:
    """A class that was taken for another."""

    true: str
    predicted: str
    rows: int
    share: float
    """Of the rows of the true class."""


@dataclass(frozen=True, kw_only=True)
class Confusion:
    """What each class was taken for."""

    model: str
    classes: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """Rows by true class, then by predicted class; empty where there are more than 20 classes."""
    pairs: tuple[Confused, ...]
    """Most rows first, at most 20."""


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """Predicted against true numbers, at most 1,000 rows drawn at random."""

    model: str
    rows: int
    """How many there are in all."""
    true: tuple[float, ...]
    predicted: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Guess:
    """What one model says of a row."""

    model: str
    prediction: str
    confidence: float | None
    """Probability of the predicted class; None for a number."""


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """A row of which the modalities, each asked alone, say different things."""

    row: str
    """Its name in the data."""
    target: str
    degree: float
    """Of classes: Jensen-Shannon divergence of the predictions, from 0 (the same) to 1 (sure and different).
    Of numbers: the largest prediction less the smallest."""
    alone: tuple[Guess, ...]
    """Of each modality's own model."""
    fused: Guess
    """Of the best fusion."""
    inputs: dict[str, Exhibit] = field(default_factory=dict)
    """What it looks like, by modality."""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All of it."""

    subsets: tuple[Subsets, ...]
    """Of the recommended model and the best fusion, where they have several modalities."""
    curves: tuple[LearningCurve, ...]
    """Of the recommended model, the best fusion and the best single modality: every fold and seed."""
    calibration: tuple[Calibration, ...]
    """Of the recommended model and the best fusion; empty where numbers are predicted."""
    confusion: tuple[Confusion, ...]
    """Of the same; empty where numbers are predicted."""
    fitted: tuple[Fitted, ...]
    """Of the same; empty where classes are predicted."""
    disagreements: tuple[Disagreement, ...]
    """The rows of which the modalities differ most, at most 12."""
    health: Health
    diagnosis: tuple[Diagnosis, ...] = ()
    """Of the best fusion, all that its test rows allow."""
    cooperation: Cooperation | None = None
    """What remedies for neglected modalities do; None where none was tried."""
