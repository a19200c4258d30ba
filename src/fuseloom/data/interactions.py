"""Data whose interactions are known: what each modality says of the label, in bits, and how they say it."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fuseloom.data.generated import GeneratedRows, generated_source, in_splits
from fuseloom.data.source import Source
from fuseloom.errors import ModalityError, OptionError
from fuseloom.part import check_dims

__all__ = ["NAMED_SETTINGS", "Interactions", "LabelBit", "make_interactions", "read_interactions"]

NAMED_SETTINGS: Mapping[str, Mapping[str, float]] = {
    "interactions": {"redundant": 1.0, "unique": 1.0, "synergistic": 1.0},
    "interactions-redundancy": {"redundant": 1.0, "synergistic": 0.0},
    "interactions-synergy": {"synergistic": 1.0},
    "interactions-unique": {"unique": 1.0, "synergistic": 0.0},
}
"""Embedded set -> the amounts it is made with, ``unique`` in each of its two modalities."""

Amounts = float | Mapping[tuple[str, ...], float]
"""Bits that all modalities share, or bits per group of them."""

_Kind = Literal["redundant", "unique", "synergistic"]
_RESERVED = ("labels", "split", "target")
_WIDTH = 8
_NEAREST, _FARTHEST = 0.5, 1.5
_MOST_BITS = 16


@dataclass(frozen=True, kw_only=True)
class LabelBit:
    """One bit of the label, and which modalities tell it."""

    kind: _Kind
    group: tuple[str, ...]
    """A redundant bit stands in each of these, a synergistic one is the parity of a bit in each."""
    amount: float
    """What knowing it says of the label: 1 bit, or less where the label flips it at times."""
    name: str
    """``synergistic``, ``unique_a``, and with numbers where there are more of the same."""

    def is_known_to(self, modalities: Sequence[str]) -> bool:
        """Whether these modalities together tell the bit."""
        known = [name in modalities for name in self.group]
        return all(known) if self.kind == "synergistic" else any(known)

    @property
    def flip_p(self) -> float:
        """How often the label has the opposite: the binary symmetric channel whose capacity is the amount."""
        return _flip_probability(self.amount)


@dataclass(frozen=True, kw_only=True, eq=False)
class Interactions(GeneratedRows):
    """Rows with known interactions, of features ``[N, width]``.

    Classes are spelled by their bits: ``r1u0u1s0``.
    """

    label_bits: tuple[LabelBit, ...]
    """What the label is made of."""
    label_values: NDArray[np.int64]
    """The label's bits ``[N, K]``, in the order of ``label_bits``."""

    def information(self, *modalities: str) -> float:
        """Mutual information in bits between the label and these modalities together (by default all)."""
        return sum((bit.amount for bit in self.label_bits if bit.is_known_to(self._chosen(modalities))), 0.0)

    def best_accuracy(self, *modalities: str) -> float:
        """Expected accuracy that no classifier of these modalities (by default all) can exceed."""
        chosen = self._chosen(modalities)
        right = [1 - bit.flip_p if bit.is_known_to(chosen) else 0.5 for bit in self.label_bits]
        return float(np.prod(right))

    def _chosen(self, modalities: Sequence[str]) -> Sequence[str]:
        if unknown := [name for name in modalities if name not in self.streams]:
            raise ModalityError(f"modalities must be of {sorted(self.streams)}, got {unknown[0]!r}.")
        return modalities if modalities else tuple(self.streams)


def make_interactions(  # noqa: PLR0913  the keywords are what a person wants to say
    num_rows: int = 2000,
    modalities: int | Sequence[str] = 2,
    *,
    redundant: Amounts = 0.0,
    unique: float | Sequence[float] | Mapping[str, float] = 0.0,
    synergistic: Amounts = 1.0,
    kind: Literal["continuous", "discrete"] = "continuous",
    width: int | None = None,
    noise: float = 0.0,
    seed: int = 0,
) -> Interactions:
    """Draw rows whose label the modalities tell redundantly, uniquely and synergistically in stated amounts.

    The label is a tuple of independent fair bits. A *redundant* bit is copied into every modality, a *unique*
    one into a single modality, and a *synergistic* one is the exclusive or of one bit in each modality, of
    which no smaller set of modalities says anything. An amount is the mutual information with the label, in
    bits: 2 are two bits, 0.3 is one bit that the label flips so often that 0.3 bits remain. Amounts add up,
    so that `Interactions.information` is exact for every set of modalities, and for two modalities the
    amounts are the partial information decomposition (of Bertschinger et al., 2014, arXiv:1311.2852).

    *Discrete* features are these bits themselves, as 0 and 1, then fair coins up to ``width``. *Continuous*
    features are a fixed random rotation of latent variables: one per bit, whose sign is the bit and whose
    size is uniform in 0.5 to 1.5, and standard normal ones that say nothing, up to ``width``. The bits can be
    read off without error, so the same amounts are exact; with ``noise`` they are upper bounds.

    An additive model cannot do better than chance on a synergistic bit; a product of one linear feature of
    each modality has its sign.

    Args:
        num_rows: Three fifths for training, a fifth each for validation and test.
        modalities: Their names, or how many (called ``a``, ``b``, and so on).
        redundant: Bits in all modalities, or group of modalities -> bits: ``{("a", "b"): 1.0}``.
        unique: Bits in each modality, one number for all, or one for each.
        synergistic: As ``redundant``: bits of the parity over all modalities, or over groups.
        kind: ``continuous`` or ``discrete``.
        width: Features of each modality; by default 8, or where discrete as many as there are bits.
        noise: Standard deviation of Gaussian noise on each continuous feature.
        seed: Of everything that is drawn.

    Raises:
        ModalityError: fewer than two modalities, or a name that none can have.
        OptionError: an amount, the width or another option is out of its range.

    Example:
        >>> data = make_interactions(200, ["text", "audio"], unique={"text": 1.0}, synergistic=0.5)
        >>> data.information("text"), data.information("audio"), data.information()
        (1.0, 0.0, 1.5)
        >>> {name: values.shape for name, values in data.streams.items()}
        {'text': (200, 8), 'audio': (200, 8)}
    """
    names = _names(modalities)
    label_bits = _label_bits(names, redundant, unique, synergistic)
    _check_options(num_rows, kind, noise)
    generator = np.random.default_rng(seed)
    told, label_values = _draw_bits(names, label_bits, num_rows, generator)
    widths = _widths(width, kind, {name: bits.shape[1] for name, bits in told.items()})
    if kind == "discrete":
        streams = {name: _coins(bits, widths[name], generator) for name, bits in told.items()}
    else:
        streams = {name: _rotated(bits, widths[name], noise, generator) for name, bits in told.items()}
    return Interactions(
        streams={name: values.astype(np.float32) for name, values in streams.items()},
        target=_spelled(label_bits, label_values),
        split=in_splits(num_rows),
        label_bits=label_bits,
        label_values=label_values,
    )


def read_interactions(name: str) -> Source:
    """The embedded set of that name: modalities ``a`` and ``b``, continuous.

    Each bit of the label can also be the target by itself, under its own name (``synergistic``).
    """
    data = make_interactions(**NAMED_SETTINGS[name])  # type: ignore[arg-type]
    bits = enumerate(data.label_bits)
    spelled = {bit.name: _spelled([bit], data.label_values[:, [place]]) for place, bit in bits}
    return generated_source(name, data, target="label", labels=spelled)


def _names(modalities: int | Sequence[str]) -> tuple[str, ...]:
    if isinstance(modalities, int):
        if not 2 <= modalities <= len(string.ascii_lowercase):
            raise ModalityError(f"modalities must be 2 to 26 or their names, got {modalities}.")
        return tuple(string.ascii_lowercase[:modalities])
    if isinstance(modalities, str) or len(set(modalities)) < len(modalities):
        raise ModalityError(f"modalities must be a number or different names, got {modalities!r}.")
    check_dims(dict.fromkeys(modalities, 1), (2, None), owner="make_interactions")
    if taken := sorted(set(_RESERVED) & set(modalities)):
        raise ModalityError(f"A modality must not be called {taken[0]!r}, got {list(modalities)}.")
    return tuple(modalities)


def _label_bits(
    names: tuple[str, ...],
    redundant: Amounts,
    unique: float | Sequence[float] | Mapping[str, float],
    synergistic: Amounts,
) -> tuple[LabelBit, ...]:
    given: Mapping[_Kind, Amounts] = {
        "redundant": redundant,
        "unique": _per_modality(unique, names),
        "synergistic": synergistic,
    }
    found: list[LabelBit] = []
    for kind, amounts in given.items():
        for group, amount in _groups(kind, amounts, names).items():
            found += _split_up(kind, group, amount, names)
    needed = sum(_num_free(bit) for bit in found)
    if not 1 <= needed <= _MOST_BITS:
        raise OptionError(
            f"The amounts must need 1 to {_MOST_BITS} independent bits, got {needed}. A synergistic bit "
            "needs one per modality."
        )
    return tuple(found)


def _per_modality(
    unique: float | Sequence[float] | Mapping[str, float], names: tuple[str, ...]
) -> dict[tuple[str, ...], float]:
    if isinstance(unique, Mapping):
        return {(name,): amount for name, amount in unique.items()}
    if isinstance(unique, Sequence):
        if len(unique) != len(names):
            raise OptionError(f"unique must have an amount for each of {list(names)}, got {list(unique)}.")
        return {(name,): amount for name, amount in zip(names, unique, strict=True)}
    return {(name,): unique for name in names}


def _groups(kind: str, amounts: Amounts, names: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    given = dict(amounts) if isinstance(amounts, Mapping) else {names: amounts}
    fewest = 1 if kind == "unique" else 2
    for group, amount in given.items():
        if not set(group) <= set(names) or not fewest <= len(set(group)) == len(group):
            raise OptionError(
                f"{kind} must be given for {'modalities' if fewest == 1 else 'groups of two or more'} of "
                f"{list(names)}, got {group!r}."
            )
        if not 0 <= amount < np.inf:
            raise OptionError(f"{kind} must be 0 bits or more, got {amount}.")
    return given


def _split_up(
    kind: _Kind,
    group: tuple[str, ...],
    amount: float,
    names: tuple[str, ...],
) -> list[LabelBit]:
    """Whole bits, and one for what remains."""
    whole = int(amount)
    parts = [1.0] * whole + ([amount - whole] if amount > whole else [])
    name = kind if group == names else "_".join([kind, *group])
    numbered = [name, *(f"{name}_{place}" for place in range(2, len(parts) + 1))]
    return [
        LabelBit(kind=kind, group=group, amount=part, name=own)
        for part, own in zip(parts, numbered, strict=False)
    ]


def _num_free(bit: LabelBit) -> int:
    return len(bit.group) if bit.kind == "synergistic" else 1


def _check_options(num_rows: int, kind: str, noise: float) -> None:
    if num_rows < 5:
        raise OptionError(f"num_rows must be at least 5, got {num_rows}.")
    if kind not in ("continuous", "discrete"):
        raise OptionError(f"kind must be 'continuous' or 'discrete', got {kind!r}.")
    if not 0 <= noise < np.inf:
        raise OptionError(f"noise must be 0 or more, got {noise}.")
    if noise and kind == "discrete":
        raise OptionError(f"noise must be 0 for discrete data, got {noise}. State a smaller amount instead.")


def _widths(width: int | None, kind: str, needed: Mapping[str, int]) -> dict[str, int]:
    if width is None:
        least = 1 if kind == "discrete" else _WIDTH
        return {name: max(count, least) for name, count in needed.items()}
    most = max(1, *needed.values())
    if width < most:
        raise OptionError(f"width must be at least {most} for these amounts, got {width}.")
    return dict.fromkeys(needed, width)


def _draw_bits(
    names: tuple[str, ...],
    label_bits: tuple[LabelBit, ...],
    num_rows: int,
    generator: np.random.Generator,
) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """The bits that stand in each modality ``[N, k]``, and those of the label ``[N, K]``."""
    free = _balanced(sum(_num_free(bit) for bit in label_bits), num_rows, generator)
    told: dict[str, list[NDArray[np.int64]]] = {name: [] for name in names}
    labels = []
    for bit in label_bits:
        own, free = free[:, : _num_free(bit)], free[:, _num_free(bit) :]
        for place, name in enumerate(bit.group):
            told[name].append(own[:, place if bit.kind == "synergistic" else 0])
        flips = generator.random(num_rows) < bit.flip_p
        labels.append(own.sum(1) % 2 ^ flips)
    columns = {n: np.array(bits, dtype=np.int64).reshape(len(bits), num_rows).T for n, bits in told.items()}
    return columns, np.stack(labels, axis=1)


def _balanced(num_bits: int, num_rows: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Every combination of bits once in each block of rows, shuffled: no stretch of rows favours any.

    In independent draws a few combinations too many let an additive model gain on its training rows.
    """
    size = 2**num_bits
    blocks = [generator.permutation(size) for _ in range(-(-num_rows // size))]
    return (np.concatenate(blocks)[:num_rows, None] >> np.arange(num_bits)) & 1


def _coins(bits: NDArray[np.int64], width: int, generator: np.random.Generator) -> NDArray[np.float64]:
    coins = generator.integers(2, size=(len(bits), width - bits.shape[1]))
    return np.concatenate([bits, coins], axis=1).astype(np.float64)


def _rotated(
    bits: NDArray[np.int64], width: int, noise: float, generator: np.random.Generator
) -> NDArray[np.float64]:
    sizes = generator.uniform(_NEAREST, _FARTHEST, size=bits.shape)
    others = generator.normal(size=(len(bits), width - bits.shape[1]))
    rotation, _ = np.linalg.qr(generator.normal(size=(width, width)))
    latent = np.concatenate([(2 * bits - 1) * sizes, others], axis=1)
    clean: NDArray[np.float64] = latent @ rotation
    return clean + noise * generator.normal(size=clean.shape)


def _spelled(label_bits: Sequence[LabelBit], values: NDArray[np.int64]) -> NDArray[np.object_]:
    letters = [bit.kind[0] for bit in label_bits]
    words = ["".join(f"{letter}{bit}" for letter, bit in zip(letters, row, strict=True)) for row in values]
    return np.array(words, dtype=object)


def _flip_probability(amount: float) -> float:
    """The ``p <= 1/2`` with one bit minus the entropy of ``p`` equal to the amount, by bisection."""
    low, high = 0.0, 0.5
    if amount >= 1:
        return low
    for _ in range(80):
        p = (low + high) / 2
        entropy = -p * np.log2(p) - (1 - p) * np.log2(1 - p)
        low, high = (p, high) if 1 - entropy > amount else (low, p)
    return (low + high) / 2
