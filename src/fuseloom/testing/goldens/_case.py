"""A golden case as it lies on disk, and the half of it that a runner may see."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import load
from torch import Tensor, nn
from torch.func import functional_call

from fuseloom.errors import DataError

__all__ = [
    "Given",
    "GoldenCase",
    "Ledger",
    "Runner",
    "Stated",
    "Tolerance",
    "apply_part",
    "gradients",
    "json_tensor",
    "leaf",
    "load_module",
    "read_case",
]

_EXPECTED = ("output", "mid", "grad")
_GIVEN = ("weight", "input")
_MODES = {"eval": False, "train": True}
_CONFIGURED = {"cases", "coalition_accuracy", "optimiser"}
"""What stands beside ``config`` in a few files: several cases, each with its own, and what is given."""
# A saturated gradient is all zeros, and max_rel alone would then forbid the last bit of noise.
_FLOOR = 1e-12


@dataclass(frozen=True, kw_only=True)
class Tolerance:
    """How far a value may be off: ``atol + rtol |b| + max_rel max|b|``."""

    rtol: float = 0.0
    atol: float = 0.0
    max_rel: float = 0.0

    @classmethod
    def parse(cls, group: str, value: object) -> Self:
        """Read ``{"rtol", "atol"}`` or ``{"max_rel"}``.

        Raises:
            DataError: other keys, or numbers under which anything would pass.
        """
        keys = sorted(value) if isinstance(value, Mapping) else None
        if not isinstance(value, Mapping) or keys not in (["atol", "rtol"], ["max_rel"]):
            raise DataError(f"tol.{group} must have rtol and atol, or max_rel, got {value!r}.")
        for key, number in value.items():
            limit = math.inf if key == "atol" else 1.0
            if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < limit:
                raise DataError(f"tol.{group}.{key} must be in [0, {limit}), got {number!r}.")
        return cls(atol=_FLOOR, max_rel=value["max_rel"]) if keys == ["max_rel"] else cls(**value)

    def allowed(self, magnitude: Tensor) -> Tensor:
        """The largest error allowed at each value, from the finite magnitudes of the expected tensor."""
        largest = magnitude.max() if magnitude.numel() else magnitude.sum()
        return self.atol + self.rtol * magnitude + self.max_rel * largest


@dataclass(frozen=True, kw_only=True)
class GoldenCase:
    """One case: what a runner is given and what it must reproduce."""

    path: Path
    kind: str
    config: Mapping[str, Any]
    mode: object
    tolerances: Mapping[str, Tolerance]
    inputs: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]
    expected: Mapping[str, Tensor]
    header: Mapping[str, Any] = field(default_factory=dict)
    """The whole JSON, which in a few cases holds inputs and expected values besides tensors."""

    def tolerance(self, name: str) -> Tolerance:
        """The tolerance of an expected tensor: ``grad`` for gradients, ``output`` for all others.

        Raises:
            DataError: the case states none.
        """
        group = "grad" if name.startswith("grad.") else "output"
        if group not in self.tolerances:
            raise DataError(f"tol must have {group!r} for {name!r}, got {sorted(self.tolerances)}.")
        return self.tolerances[group]

    def given(self) -> "Given":
        """What a runner may see: everything but the expected tensors and the tolerances."""
        return Given(
            inputs=Ledger(self.inputs), weights=Ledger(self.weights), config=self.config, mode=self.mode
        )


class Ledger:
    """Tensors that remember which of them were read.

    Example:
        >>> ledger = Ledger({"fc.weight": torch.ones(2), "fc.bias": torch.zeros(1)})
        >>> ledger["fc.weight"].sum().item(), ledger.unread
        (2.0, ['fc.bias'])
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._tensors = dict(tensors)
        self._unread = set(tensors)

    def __getitem__(self, name: str) -> Tensor:
        if name not in self._tensors:
            raise DataError(f"The case must store {name!r}, got {sorted(self._tensors)}.")
        self._unread.discard(name)
        return self._tensors[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    @property
    def unread(self) -> list[str]:
        """Names that nobody asked for."""
        return sorted(self._unread)

    def under(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name starts with ``prefix``, without it; reads them."""
        return {name.removeprefix(prefix): self[name] for name in self if name.startswith(prefix)}


@dataclass(frozen=True, kw_only=True)
class Given:
    """The half of a case that a runner sees; the expected tensors are not in it."""

    inputs: Ledger
    weights: Ledger
    config: Mapping[str, Any]
    mode: object

    @property
    def training(self) -> bool:
        """Whether modules run in training mode.

        Raises:
            DataError: the case names another mode than ``eval`` or ``train``.
        """
        if not isinstance(self.mode, str) or self.mode not in _MODES:
            raise DataError(f"mode must be one of {sorted(_MODES)}, got {self.mode!r}.")
        return _MODES[self.mode]

    def option(self, name: str) -> Any:
        """An entry of the configuration.

        Raises:
            DataError: it has no such entry.
        """
        if name not in self.config:
            raise DataError(f"config must have {name!r}, got {sorted(self.config)}.")
        return self.config[name]


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the JSON of a case holds for its runner, and what of it must be reproduced."""

    given: Mapping[str, Any] = field(default_factory=dict)
    """Added to the configuration."""
    expected: Mapping[str, Tensor] = field(default_factory=dict)
    """Added to the expected tensors."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """How the cases of one kind are reproduced.

    Args:
        run: Builds the part through its converter, runs it and returns tensors under their stored names.
        idle: Gives patterns of the weights that cannot influence any tensor of a case.
        accuracy: Pattern of names -> how exact the stored values themselves are, where that is less than the
            tolerance of the case.
        invariants: Pattern of names -> from a case, a name and the tensor, stored or ours, to what of it the
            method determines; where values besides are a choice of the machine, this is compared instead.
        cancelling: Patterns of names of tensors in which sums cancel, so that rounding may be most of some
            values. One that misses the tolerance of its case passes if none of its values is further off than
            rounding explains. The part must be able to run in double precision.
        states: Gives what the JSON of a case holds beside its tensors.
    """

    run: Callable[[Given], dict[str, Tensor]]
    idle: Callable[[GoldenCase], tuple[str, ...]] = lambda _: ()
    accuracy: Mapping[str, Tolerance] = field(default_factory=dict)
    invariants: Mapping[str, Callable[[GoldenCase, str, Tensor], Tensor]] = field(default_factory=dict)
    cancelling: tuple[str, ...] = ()
    states: Callable[[GoldenCase], Stated] = lambda _: Stated()

    def tolerance(self, case: GoldenCase, name: str) -> Tolerance:
        """What is allowed of an expected tensor.

        Raises:
            DataError: the case states no tolerance.
        """
        stated = case.tolerance(name)
        return next((own for pattern, own in self.accuracy.items() if fnmatchcase(name, pattern)), stated)

    def determined(self, case: GoldenCase, name: str, tensor: Tensor) -> Tensor:
        """What of a stored tensor, or of ours, is compared: most often all of it."""
        own = [found for pattern, found in self.invariants.items() if fnmatchcase(name, pattern)]
        return own[0](case, name, tensor) if own else tensor


def read_case(path: Path) -> GoldenCase:
    """Read ``path`` (a JSON) and the tensors beside it.

    Raises:
        DataError: a file is missing or damaged, or the two do not agree.
    """
    header = _read_header(path)
    tensors = _read_tensors(path.with_suffix(".safetensors"))
    for table in ("shapes", "tensors"):
        _check_manifest(header.get(table, {}), tensors)
    groups = {role: _strip(tensors, role) for role in _GIVEN}
    expected = {name: tensor for name, tensor in tensors.items() if _role(name) in _EXPECTED}
    return GoldenCase(
        path=path,
        kind=header["kind"],
        config=header["config"],
        mode=header.get("mode"),
        tolerances=_tolerances(header.get("tol")),
        inputs=groups["input"],
        weights=groups["weight"],
        expected=expected,
        header=header,
    )


def _read_header(path: Path) -> dict[str, Any]:
    try:
        header = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise DataError(f"{path.name} must stand beside its tensors, got no such file.") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path.name} must be JSON, got: {error}.") from None
    if not isinstance(header, dict) or not isinstance(header.get("kind"), str):
        raise DataError(f"{path.name} must be a golden case, an object with a 'kind', got none.")
    if not isinstance(header.setdefault("config", {}), dict):
        raise DataError(f"config must be an object, got {header['config']!r}.")
    for name in _CONFIGURED & header.keys():
        header["config"][name] = header[name]
    if rates := _sample_rates(header.get("info")):
        header["config"]["sample_rates"] = rates
    return header


def _sample_rates(info: object) -> list[Any]:
    """What is given of recordings where a case says more of them, which is not."""
    entries = info if isinstance(info, list) else []
    return [entry["sr"] for entry in entries if isinstance(entry, dict) and "sr" in entry]


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.exists():
        return {}
    try:
        return load(path.read_bytes())
    # The reader's own exception type is all it promises; a bad header surfaces as KeyError or others too.
    except Exception as error:
        raise DataError(f"{path.name} must be a whole safetensors file, got: {error}.") from None


def _check_manifest(manifest: object, tensors: Mapping[str, Tensor]) -> None:
    if not isinstance(manifest, Mapping):
        raise DataError(f"The table of tensors must be an object, got {type(manifest).__name__}.")
    if missing := sorted(manifest.keys() - tensors.keys()):
        raise DataError(
            f"The tensors file must hold all {len(manifest)} tensors that the JSON names, got "
            f"{len(tensors)}: {_listed(missing)} missing."
        )
    for name, entry in manifest.items():
        dtype, shape = _dtype_and_shape(name, entry)
        stored = str(tensors[name].dtype).removeprefix("torch."), list(tensors[name].shape)
        if stored != (dtype, shape):
            raise DataError(f"{name!r} must be {dtype} of shape {shape} as the JSON says, got {stored}.")


def _dtype_and_shape(name: str, entry: object) -> tuple[object, object]:
    match entry:
        case {"dtype": dtype, "shape": shape}:
            return dtype, shape
        case [dtype, shape]:
            return dtype, shape
    raise DataError(f"The JSON must give a dtype and a shape for {name!r}, got {entry!r}.")


def _tolerances(tol: object) -> dict[str, Tolerance]:
    if not isinstance(tol, Mapping) or "output" not in tol:
        raise DataError(f"tol must be an object with 'output', got {tol!r}.")
    return {group: Tolerance.parse(group, value) for group, value in tol.items()}


def _strip(tensors: Mapping[str, Tensor], role: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{role}."): value for name, value in tensors.items() if _role(name) == role}


def _role(name: str) -> str:
    role = name.split(".")[0]
    if role not in (*_EXPECTED, *_GIVEN):
        raise DataError(f"A tensor's name must start with one of {[*_GIVEN, *_EXPECTED]}, got {name!r}.")
    return role


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more


def json_tensor(value: object) -> Tensor:
    """The bytes of any value as JSON has it, to be compared like a tensor.

    Example:
        >>> bytes(json_tensor({"b": 1, "a": ["x"]}).tolist()).decode()
        '{"a": ["x"], "b": 1}'
    """
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return torch.tensor(list(text.encode("utf-8", "surrogatepass")), dtype=torch.uint8)


def leaf(tensor: Tensor) -> Tensor:
    """A copy of a tensor that gradients are taken of."""
    return tensor.clone().requires_grad_()


def load_module(module: nn.Module, state: Mapping[str, Tensor], *, training: bool) -> nn.Module:
    """Give a module that was built on the meta device its official weights, in their own precision.

    On the meta device nothing is drawn at random, so a weight that the case lacks cannot go unnoticed.
    """
    module.load_state_dict(state, assign=True)
    return module.train(training)


def apply_part(part: nn.Module, state: Mapping[str, Tensor], *args: Any) -> Tensor:
    """Run a part on a converted state dict through which gradients reach the official weights."""
    # functional_call checks names only; loading refuses shapes that do not fit as well.
    part.load_state_dict(state, assign=True)
    out: Tensor = functional_call(part, dict(state), args, strict=True)
    return out


def gradients(output: Tensor, cotangent: Tensor, sources: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Gradient of ``sum(output * cotangent)`` with respect to each source, as ``grad.<name>``.

    Example:
        >>> x = leaf(torch.tensor([3.0]))
        >>> gradients(x * x, torch.tensor([2.0]), {"x": x})
        {'grad.x': tensor([12.])}
    """
    found = torch.autograd.grad(output, list(sources.values()), grad_outputs=cotangent)
    return {f"grad.{name}": value for name, value in zip(sources, found, strict=True)}
