"""Names to classes: one decorator, lookup with "Did you mean", listing that imports nothing.

A registered class lives in a file of its own name (``merge/low_rank.py`` holds ``low_rank``), so the
names of our own parts are read from the file names; those of third parties are there once their module
has run its decorator. A lookup imports one file.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib.util import find_spec
from typing import Any, Literal, TypeVar

from fuseloom.errors import OptionError, UnknownNameError, did_you_mean

__all__ = [
    "FUSION_KINDS",
    "Card",
    "Interaction",
    "Rank",
    "card",
    "create",
    "create_remedy",
    "list_fusions",
    "list_names",
    "list_remedies",
    "lookup",
    "register",
]

Interaction = Literal["additive", "multiplicative", "nonlinear"]
Rank = Literal["embedding", "tokens", "feature_map"]
T = TypeVar("T", bound=type)

_PACKAGES = {
    "exchange": "fuseloom.exchange",
    "merge": "fuseloom.merge",
    "encoder": "fuseloom.encoders",
    "task": "fuseloom.tasks",
    "converter": "fuseloom.models.converters",
    "remedy": "fuseloom.train.remedies",
    "system": "fuseloom.models.systems",
    "dense": "fuseloom.models.dense_systems",
    "picture": "fuseloom.models.picture_systems",
}
FUSION_KINDS = ("exchange", "merge")
_registered: dict[str, dict[str, type]] = {kind: {} for kind in _PACKAGES}


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a fusion part claims about itself; the contract checks verify it, the docs print it."""

    summary: str
    """One line, as in a table of methods."""
    interaction: Interaction
    """Highest order of interaction between modalities it can express."""
    cost: str
    """Multiplications per sample in tokens N, width D, output width K, modalities M, rank R."""
    parameters: str
    """How parameters scale with the modalities: shared, per modality or per ordered pair."""
    ranks: tuple[Rank, ...] = ("embedding", "tokens", "feature_map")
    """Ranks accepted; streams of one call may differ in rank."""
    arity: tuple[int, int | None] = (1, None)
    """Fewest and most modalities; ``None`` is no limit."""
    level: Literal["stream", "decision", "output"] = "stream"
    """``stream``: a head goes behind it. ``decision``: it works on logits, one head per modality goes before
    it, and what they decide is told to its option ``decision``, where it has one. ``output``: what it gives
    is the prediction itself, and there is no head."""
    reads: tuple[str, ...] = ()
    """What it reads besides the streams, passed by keyword."""
    aligned: bool = False
    """Whether streams must share their positions."""
    symmetric: bool = False
    """Whether swapping two modalities' values leaves the output of equal parameters unchanged."""
    discrete: bool = False
    """Whether it selects discretely, so that low precision may select differently."""
    inert: tuple[str, ...] = ()
    """Parameters that exist only so that official checkpoints load."""
    paper: str = ""
    """Source paper."""
    code: str = ""
    """Official code."""
    differs: str = ""
    """What our default does differently from the official code."""


def register(name: str) -> Callable[[T], T]:
    """Register a class under ``name``; its ``kind`` says where (``exchange``, ``merge``, ...).

    Raises:
        OptionError: another class of that kind has the name, or the class has no known ``kind``.
    """

    def decorate(cls: T) -> T:
        kind = getattr(cls, "kind", None)
        if kind not in _registered:
            raise OptionError(f"kind must be one of {sorted(_registered)}, got {kind!r} on {cls.__name__}.")
        holder = _registered[kind].get(name)
        if holder is not None and (holder.__module__, holder.__qualname__) != (
            cls.__module__,
            cls.__qualname__,
        ):
            raise OptionError(
                f"name must be new, got {name!r}, which {holder.__module__} registered already."
            )
        _registered[kind][name] = cls
        cls.name = name  # type: ignore[attr-defined]
        return cls

    return decorate


def list_names(pattern: str = "*", *, kind: str | None = None) -> list[str]:
    """Sorted names of a kind (or of all fusion parts) that match a shell-style pattern.

    Reads file names and imports none of them.
    """
    kinds = FUSION_KINDS if kind is None else (_known_kind(kind),)
    names = {name for k in kinds for name in [*_file_names(k), *_registered[k]]}
    return sorted(name for name in names if fnmatchcase(name, pattern))


def lookup(name: str, *, kind: str | None = None) -> Any:
    """Class registered under ``name``, importing its file if need be.

    Raises:
        UnknownNameError: no file and no decorator knows the name.
    """
    kinds = FUSION_KINDS if kind is None else (_known_kind(kind),)
    for k in kinds:
        if name not in _registered[k] and name in _file_names(k):
            importlib.import_module(f"{_PACKAGES[k]}.{name}")
        if name in _registered[k]:
            return _registered[k][name]
    what = "fusion" if kind is None else kind
    raise UnknownNameError(f"Unknown {what} {name!r}.{did_you_mean(name, list_names(kind=kind))}")


def _known_kind(kind: str) -> str:
    if kind not in _PACKAGES:
        raise UnknownNameError(f"Unknown kind {kind!r}.{did_you_mean(kind, _PACKAGES)}")
    return kind


def _file_names(kind: str) -> list[str]:
    spec = find_spec(_PACKAGES[kind])
    locations = spec.submodule_search_locations if spec else []  # None would list everything installed
    return [m.name for m in pkgutil.iter_modules(locations) if not m.name.startswith("_")]


def create(name: str, dims: Mapping[str, int], **options: Any) -> Any:
    """Build a fusion part by name.

    Args:
        name: One of `list_fusions`.
        dims: Modality name -> width.
        options: Keyword options of the part.

    Raises:
        UnknownNameError: no such part.
        OptionError: an option the part does not have.
        ModalityError: modalities the part cannot take.

    Example:
        >>> create("low_rank", {"text": 6, "audio": 4}, dim=8, rank=2).dim
        8
    """
    cls = lookup(name)
    _check_options(cls, options)
    return cls(dims, **options)


def _check_options(cls: type, options: Mapping[str, Any]) -> None:
    known = [p for p in inspect.signature(cls).parameters if p != "dims"]
    if unknown := sorted(options.keys() - set(known)):
        name = cls.name  # type: ignore[attr-defined]
        raise OptionError(f"{name!r} has no option {unknown[0]!r}.{did_you_mean(unknown[0], known)}")


def create_remedy(name: str, **options: Any) -> Any:
    """Build a remedy for modality imbalance by name.

    Args:
        name: One of `list_remedies`.
        options: Its own.

    Raises:
        UnknownNameError: no such remedy.
        OptionError: an option that it does not have.

    Example:
        >>> create_remedy("ogm", alpha=0.3).alpha
        0.3
    """
    cls = lookup(name, kind="remedy")
    _check_options(cls, options)
    return cls(**options)


def list_remedies(pattern: str = "*") -> list[str]:
    """Names of remedies for modality imbalance that match a shell-style pattern, without importing any.

    What a remedy claims is on the ``card`` of its class.

    Example:
        >>> list_remedies("ogm*")
        ['ogm', 'ogm_ge']
    """
    return list_names(pattern, kind="remedy")


def list_fusions(pattern: str = "*", *, kind: str | None = None) -> list[str]:
    """Names of fusion parts that match a shell-style pattern, without importing any.

    Args:
        pattern: As in ``low_*``.
        kind: ``exchange`` or ``merge``; both by default.

    Example:
        >>> list_fusions("low_*")
        ['low_rank']
        >>> list_fusions("cross_*", kind="exchange")
        ['cross_attention']
    """
    return list_names(pattern, kind=kind)


def card(name: str) -> Card:
    """The claims of a fusion part.

    Example:
        >>> card("low_rank").interaction
        'multiplicative'
    """
    claims: Card = lookup(name).card
    return claims
