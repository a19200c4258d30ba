"""Copies of stored cases in which something is wrong."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

HOME = Path(__file__).parents[2] / "goldens"
BY_THRESHOLD = ("input.gamma", "input.mask", "weight.gamma")
"""Of these a threshold may be all that is read."""


@pytest.fixture
def altered(tmp_path: Path) -> Callable[[Path, str], Path]:
    """A copy of a case with one tensor altered: all of a given one, a single value of an expected one."""

    def copy(case: Path, name: str) -> Path:
        tensors = load_file(case.with_suffix(".safetensors"))
        if name.startswith(BY_THRESHOLD) and tensors[name].is_floating_point():
            tensors[name] = tensors[name].abs().lt(0.02).to(tensors[name].dtype)
        else:
            _alter(tensors[name].view(-1), whole=name.startswith(("input.", "weight.")))
        save_file(tensors, tmp_path / f"{case.stem}.safetensors")
        return Path(shutil.copy(case, tmp_path / case.name))

    return copy


def _alter(values: Tensor, *, whole: bool) -> None:
    """A single given element may have no influence, where a ReLU is closed or a cotangent meets a constant;
    nor may a constant, where a norm or a softmax follows."""
    part = values if whole else values[:1]
    if part.dtype == torch.bool:
        part.logical_not_()
        return
    step = torch.linspace(1, 2, len(part))
    step[1::2] *= -1  # up and down: a score that only looks at the order of its inputs changes too
    part += step.to(part.dtype)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[..., Path]:
    """A copy of a stored case, ``system/name``, with other entries; ``config`` is added to what is there."""

    def copy(stored: str, *, config: dict[str, object] | None = None, **entries: object) -> Path:
        source = HOME / f"{stored}.json"
        shutil.copy(source.with_suffix(".safetensors"), tmp_path)
        held = json.loads(source.read_text())
        case = tmp_path / source.name
        case.write_text(json.dumps(held | {"config": held["config"] | (config or {})} | entries))
        return case

    return copy
