"""An easy and a hard modality of varying quality, and what no classifier of them can exceed."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.data.generated import GeneratedRows, even_classes, generated_source, in_splits
from fuseloom.data.source import Source
from fuseloom.errors import ModalityError, OptionError

__all__ = ["Imbalanced", "make_imbalanced", "read_imbalanced"]

Doubles = NDArray[np.float64]

_MODALITIES = ("easy", "hard")
_CLASSES = ("minus", "plus")
_CLEAN_ACCURACY = 0.9
_SHARE_RIGHT = (1 + math.sqrt(2 * _CLEAN_ACCURACY - 1)) / 2
"""How often each of two signs must be right for their product to be so nine times in ten."""
_EASY_SIZE = NormalDist().inv_cdf(_CLEAN_ACCURACY)
_HARD_SIZE = NormalDist().inv_cdf(_SHARE_RIGHT)
_CARRIER_SIZE = 10.0
_FEWEST_FEATURES = 3
_LEVELS, _DRAWS = 32, 48
"""Nodes of the quadrature over a quality, and over a normal variable."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Imbalanced(GeneratedRows):
    """Rows of two modalities ``easy`` and ``hard`` of tokens ``[N, T, width]``; ``plus`` or ``minus``."""

    quality: Mapping[str, Doubles]
    """Modality name -> how much of each row is left of what it shows, from 0 to 1 ``[N]``; never an input."""
    imbalance: float
    noise: float

    def best_accuracy(self, *modalities: str) -> float:
        """Expected accuracy that no classifier of these modalities (by default both) can exceed.

        It is that of the Bayes classifier that knows the qualities too, by the formulas of `make_imbalanced`,
        integrated to about three decimals.

        Raises:
            ModalityError: another name than ``easy`` and ``hard``.
        """
        if unknown := [name for name in modalities if name not in _MODALITIES]:
            raise ModalityError(f"modalities must be of {sorted(_MODALITIES)}, got {unknown[0]!r}.")
        quality, weight = _qualities(self.noise)
        easy, hard = quality * _easy_size(self.imbalance), quality * _HARD_SIZE
        if set(modalities) == {"easy"}:
            return float(weight @ _normal_cdf(easy))
        if set(modalities) == {"hard"}:
            return float(weight @ _both_or_neither(_normal_cdf(hard)))
        return float(weight @ _fused_accuracy(easy, hard) @ weight)


def make_imbalanced(
    num_rows: int = 2000,
    *,
    imbalance: float = 1.0,
    noise: float = 1.0,
    num_tokens: int = 4,
    width: int = 8,
    seed: int = 0,
) -> Imbalanced:
    r"""Draw rows of a modality that is easy to read and one that is not, in a quality that varies.

    The class :math:`y = \pm 1` is a fair coin. Row by row, each modality has a quality :math:`q`, uniform in
    ``1 - noise`` to 1 and independent of all else, and each of its ``T`` tokens is

    .. math:: x_t = q\, (s + g\, c) / \sqrt{T} + \epsilon_t, \quad \epsilon_t \sim N(0, I),

    in a fixed random rotation of each modality's own. The direction :math:`c` is the same in every row: it
    carries no class, only how good the row is, as the loudness of speech does, so that a model can see the
    quality (to a deviation of ``1 / g = 0.1`` from all tokens) and turn to the better modality.

    * ``easy`` shows the class in one direction: :math:`s = d\, y\, u`. A linear function of a token tells it.
    * ``hard`` shows two signs in two directions, :math:`s = h\, (z\, u + z y\, v)` with a fair coin
      :math:`z = \pm 1` per row, and the class is their product. Every linear function of its tokens is
      uncorrelated with the class, and either direction alone is independent of it: it says nothing to a
      model that has not found both and multiplied them. That is what makes it hard, not want of evidence.

    Sums over tokens suffice, in which ``T`` cancels: of a row whose quality is known, :math:`N(q d y, 1)` of
    ``easy`` and :math:`A \sim N(q h z, 1), B \sim N(q h z y, 1)` of ``hard``. With the normal distribution
    function :math:`\Phi` and :math:`p = \Phi(q h)` the Bayes classifiers are right with probability

    .. math::
        \text{easy: } \Phi(q d) \qquad \text{hard: } p^2 + (1 - p)^2 \qquad
        \text{both: } E\, \Phi\!\left(\kappa + \frac{\lambda}{2 \kappa}\right), \quad \kappa = q d,

    where :math:`\lambda = \log \cosh \eta(A + B) - \log \cosh \eta(A - B)` with :math:`\eta = q' h` is what
    ``hard`` says for the true class, in nats. `Imbalanced.best_accuracy` integrates these over the qualities.

    The sizes are fixed by two statements: of rows in full quality ``hard`` tells nine in ten, and so does
    ``easy`` where ``imbalance`` is 0; :math:`d` is ``1 + imbalance`` times as large. So at ``imbalance=0``
    they differ only in how they say it. No number was chosen by training anything.

    Args:
        num_rows: Three fifths for training, a fifth each for validation and test.
        imbalance: How much larger the easy modality's signal is than where both are equally good.
        noise: From 0, every row in full quality, to 1, qualities from 0 to 1.
        num_tokens: ``T``, tokens of each modality; more of them show the same in smaller pieces.
        width: Features of a token, at least 3.
        seed: Of everything that is drawn.

    Raises:
        OptionError: an option is out of its range.

    Example:
        >>> data = make_imbalanced(200)
        >>> {name: tokens.shape for name, tokens in data.streams.items()}
        {'easy': (200, 4, 8), 'hard': (200, 4, 8)}
        >>> [round(data.best_accuracy(*names), 3) for names in (["easy"], ["hard"], [])]
        [0.845, 0.678, 0.886]
    """
    _check_options(num_rows, imbalance, noise, num_tokens=num_tokens, width=width)
    generator = np.random.default_rng(seed)
    split = in_splits(num_rows)
    sign = (2 * even_classes(split, 2, generator) - 1).astype(np.float64)
    coin = generator.choice([-1.0, 1.0], size=num_rows)
    shown = {
        "easy": _easy_size(imbalance) * sign[:, None],
        "hard": _HARD_SIZE * np.stack([coin, coin * sign], axis=1),
    }
    quality = {name: generator.uniform(1 - noise, 1, size=num_rows) for name in _MODALITIES}
    return Imbalanced(
        streams={
            name: _tokens(shown[name], quality[name], generator, num_tokens=num_tokens, width=width)
            for name in _MODALITIES
        },
        target=np.array(_CLASSES, dtype=object)[(sign > 0).astype(np.intp)],
        split=split,
        quality=quality,
        imbalance=imbalance,
        noise=noise,
    )


def read_imbalanced() -> Source:
    """The embedded set ``imbalanced``: 2,000 rows at the defaults of `make_imbalanced`.

    The qualities stand beside the rows as ``quality_easy`` and ``quality_hard``.
    """
    data = make_imbalanced()
    qualities = {f"quality_{name}": values for name, values in data.quality.items()}
    return generated_source("imbalanced", data, target="label", labels=qualities)


def _check_options(num_rows: int, imbalance: float, noise: float, *, num_tokens: int, width: int) -> None:
    if num_rows < 10:
        raise OptionError(f"num_rows must be at least 10, got {num_rows}.")
    if not 0 <= imbalance < math.inf:
        raise OptionError(f"imbalance must be 0 or more, got {imbalance}.")
    if not 0 <= noise <= 1:
        raise OptionError(f"noise must be in [0, 1], got {noise}.")
    if num_tokens < 1:
        raise OptionError(f"num_tokens must be at least 1, got {num_tokens}.")
    if width < _FEWEST_FEATURES:
        raise OptionError(f"width must be at least {_FEWEST_FEATURES}, got {width}.")


def _easy_size(imbalance: float) -> float:
    return (1 + imbalance) * _EASY_SIZE


def _tokens(
    shown: Doubles, quality: Doubles, generator: np.random.Generator, *, num_tokens: int, width: int
) -> NDArray[np.float32]:
    """Tokens ``[N, T, width]`` that show these numbers ``[N, k]`` and the carrier in that quality."""
    rotation, _ = np.linalg.qr(generator.normal(size=(width, width)))
    clean = np.zeros((len(shown), width))
    clean[:, : shown.shape[1]], clean[:, -1] = shown, _CARRIER_SIZE
    clean *= quality[:, None] / math.sqrt(num_tokens)
    noise = generator.normal(size=(len(shown), num_tokens, width))
    tokens: NDArray[np.float32] = ((clean[:, None] + noise) @ rotation).astype(np.float32)
    return tokens


def _qualities(noise: float) -> tuple[Doubles, Doubles]:
    """Levels of a quality and their weights: Gauss-Legendre over ``1 - noise`` to 1."""
    places, weights = np.polynomial.legendre.leggauss(_LEVELS)
    return 1 - noise / 2 + noise / 2 * places, weights / 2


def _fused_accuracy(easy: Doubles, hard: Doubles) -> Doubles:
    """How often both modalities together are right, for every pair of sizes: ``[E, H]``."""
    draws, weights = np.polynomial.hermite_e.hermegauss(_DRAWS)
    one, other = hard[:, None, None] + draws[:, None], hard[:, None, None] + draws
    evidence = _log_cosh(hard[:, None, None] * (one + other)) - _log_cosh(hard[:, None, None] * (one - other))
    share = np.outer(weights, weights) / weights.sum() ** 2
    return np.stack(
        [(_normal_cdf(size + evidence / (2 * size)) * share).sum((1, 2)) for size in easy]
    )  # [E, H]


def _both_or_neither(share: Doubles) -> Doubles:
    right: Doubles = share**2 + (1 - share) ** 2
    return right


def _log_cosh(values: Doubles) -> Doubles:
    """Up to a constant, without overflow."""
    found: Doubles = np.logaddexp(values, -values)
    return found


def _normal_cdf(values: Doubles) -> Doubles:
    found: Doubles = torch.special.ndtr(torch.from_numpy(values)).numpy()
    return found
