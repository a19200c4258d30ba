"""Apples that were graded: a picture, a picker's note, and what the scales and the calendar say.

Drawn, not real: each of the three tells a part of the grade, so that fusing them pays.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fuseloom.errors import OptionError

__all__ = ["GRADES", "Apples", "make_apples"]

GRADES = ("shop", "juice")
"""What an apple is good for."""
SIDE = 32
"""Pixels of a picture along one side."""

_ORCHARDS = {"north slope": 165, "river": 180, "old wall": 150}
"""Where apples grow -> what they weigh there, in grams."""
_SKINS = np.array([(196, 48, 44), (214, 82, 48), (204, 110, 52)], dtype=np.float64)
_BRUISE = np.array((96, 58, 30), dtype=np.float64)
_SHARES = (0.9, 0.9, 0.6)
"""How much of a grade the picture, the note and the days since the harvest each decide."""
_FIRMNESS = (
    ("crisp and firm", "snaps when you bite"),
    ("still firm", "good bite, a little dry"),
    ("a bit tired", "neither firm nor soft"),
    ("soft on one side", "rather mealy"),
    ("soft all over", "wrinkled and mealy"),
)
"""From firm to soft: what the note says of it."""
_ASIDES = (
    "from the top of the tree",
    "picked before the rain",
    "sweet",
    "a little sour",
    "leaf still on",
    "small core",
    "last row of the orchard",
    "picked by the new people",
    "smells of roses",
    "even shape",
    "long stem",
    "lies well in the hand",
)
"""What the note says besides, which has no bearing."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Apples:
    """One entry per apple in each field."""

    photo: NDArray[np.uint8]
    """Pixels ``[N, 32, 32, 3]``: bruises show, the skin's colour says nothing."""
    note: tuple[str, ...]
    """How it tastes and feels, in the picker's words."""
    orchard: tuple[str, ...]
    """Where it grew."""
    days: NDArray[np.int64]
    """Since the harvest."""
    weight: NDArray[np.float64]
    """In grams."""
    grade: tuple[str, ...]
    """One of `GRADES`."""


def make_apples(rows: int, *, seed: int = 0) -> Apples:
    """Draw apples whose grade is decided by bruises, firmness and age together.

    Args:
        rows: How many.
        seed: Of everything about them.

    Raises:
        OptionError: ``rows`` is not positive.

    Example:
        >>> apples = make_apples(300)
        >>> apples.photo.shape, apples.note[0], apples.grade.count("shop")
        ((300, 32, 32, 3), 'Rather mealy, leaf still on', 155)
    """
    if rows < 1:
        raise OptionError(f"rows must be positive, got {rows}.")
    generator = np.random.default_rng(seed)
    bruised, soft, old = generator.normal(size=(3, rows))
    harm = np.tensordot(_SHARES, np.stack([bruised, soft, old]), axes=1)
    orchards = generator.choice(list(_ORCHARDS), size=rows)
    usual = np.array([_ORCHARDS[str(name)] for name in orchards])
    return Apples(
        photo=np.stack([_photo(amount, generator) for amount in bruised]),
        note=tuple(_note(amount, generator) for amount in soft),
        orchard=tuple(map(str, orchards)),
        days=np.clip(np.round(9 + 4 * old), 0, None).astype(np.int64),
        weight=np.round(usual + generator.normal(0, 12, size=rows), 1),
        grade=tuple(GRADES[int(amount > 0)] for amount in harm),
    )


def _note(soft: float, generator: np.random.Generator) -> str:
    level = int(np.clip(np.round(2 + 1.2 * soft), 0, len(_FIRMNESS) - 1))
    parts = [generator.choice(_FIRMNESS[level]), generator.choice(_ASIDES)]
    return ", ".join(map(str, parts if generator.random() < 0.5 else parts[::-1])).capitalize()


def _photo(bruised: float, generator: np.random.Generator) -> NDArray[np.uint8]:
    """An apple on a table of some grey, lit from one side, with bruises as large as it is bruised."""
    up, across = np.mgrid[:SIDE, :SIDE].astype(np.float64)
    middle = SIDE / 2 + generator.uniform(-2, 2, size=2)
    radius = generator.uniform(10.5, 13)
    inside = (up - middle[0]) ** 2 + (across - middle[1]) ** 2 <= radius**2
    pixels = np.full((SIDE, SIDE, 3), generator.uniform(190, 230))
    pixels[inside] = _SKINS[generator.integers(len(_SKINS))]
    for _ in range(3):
        angle, far = generator.uniform(0, 2 * np.pi), radius * np.sqrt(generator.uniform(0, 0.5))
        spot = middle + far * np.array((np.sin(angle), np.cos(angle)))
        reach = np.clip(2.6 + 1.3 * bruised, 0, 6) * generator.uniform(0.85, 1.15)
        pixels[inside & ((up - spot[0]) ** 2 + (across - spot[1]) ** 2 <= reach**2)] = _BRUISE
    light = 1 + 0.12 * (across - SIDE / 2) / SIDE * generator.choice((-1, 1))
    grain = generator.normal(0, 6, size=pixels.shape)
    seen: NDArray[np.uint8] = np.clip(np.round(pixels * light[..., None] + grain), 0, 255).astype(np.uint8)
    return seen
