"""Every stored case of every system: its tensors are reproduced, and a change of any of them is noticed."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from fuseloom.testing.goldens import RUNNERS
from fuseloom.testing.verify import find_cases, verify_case

HOME = Path(__file__).parents[2] / "goldens"
CASES = sorted(HOME.glob("*/*.json"))
MANY, SOME = 12, 8
ROLES = ("weight.", "input.", "output.", "mid.", "grad.")
UNUSED = {
    ("batchpid_forward__c2_b8", "input.y"),
    ("vit_unimodal_audio", "input.v"),
    ("opm_tpami", "input.case2.mask"),
    ("nicatt_03_single", "weight.attention.full_att.bias"),
    *((case, "weight.image_encoder.resnet.1.num_batches_tracked") for case in ("mner_02_noskip", "msa_01")),
    *(("pmr_2mod", f"input.batch{n}.{what}") for n in range(1, 12) for what in ("audio", "visual", "label")),
}
"""What no stored value depends on: inputs, where the official call looks at the first tenth of the batches
only, a mask whose ones are ones still where they are altered, a bias that a softmax does not see, and a count
of batches."""
OUTSIDE = {
    "cen/i2i_generator",
    "cen/refinenet",
    "geminifusion/augment_deliver",
    "geminifusion/augment_main",
    "geminifusion/deliver_b0",
    "geminifusion/deliver_backbone",
    "geminifusion/deliver_model",
    "geminifusion/manifests",
    "geminifusion/mit_backbone",
    "geminifusion/swin_backbone",
    "geminifusion/wetr_swin",
    "geminifusion/wetr_train",
    "muse/mner_dataset_stats",
    "rollingq/full_mbt",
    "rollingq/full_sum",
    "rollingq/ogm_ge_bb",
    "tokenfusion/i2i_discriminator",
    "tokenfusion/i2i_generator",
}
"""Kinds without a case here, as a system has 1.4 MB at most, or as data are needed: see `goldens_dir`."""


def some_of(names: list[str]) -> list[str]:
    """Eight or so of the weights, gradients or the like of a case that has many of them; and all else."""
    roles = [[name for name in names if name.startswith(role)] for role in ROLES]
    many = [some for some in roles if len(some) > MANY]
    left_out = {name for some in many for i, name in enumerate(some) if i % (len(some) // SOME)}
    return [name for name in names if name not in left_out]


def tensors_of(case: Path) -> list[str]:
    file = case.with_suffix(".safetensors")
    return list(load_file(file)) if file.is_file() else []


TENSORS = [(case, name) for case in CASES for name in some_of(tensors_of(case))]


def name_of(value: object) -> str:
    return value.stem if isinstance(value, Path) else str(value)


def kind_of(case: Path) -> str:
    return str(json.loads(case.read_text())["kind"])


def test_every_kind_has_a_case_here() -> None:
    assert set(map(kind_of, CASES)) == set(RUNNERS) - OUTSIDE


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_official_tensors_are_reproduced(case: Path) -> None:
    result = verify_case(case)
    stored = load_file(case.with_suffix(".safetensors")) if case.with_suffix(".safetensors").is_file() else {}
    assert (result.status, result.reason) == ("ok", "")
    expected = {name for name in stored if name.split(".")[0] in ("output", "mid", "grad")}
    assert {check.name for check in result.checks} >= expected


@pytest.mark.parametrize("kind", sorted(RUNNERS))
def test_official_tensors_of_all_cases_are_reproduced(goldens_dir: Path, kind: str) -> None:
    cases = [case for case in find_cases([goldens_dir / kind.split("/")[0]]) if kind_of(case) == kind]
    assert cases
    assert [(result.path, result.reason) for result in map(verify_case, cases) if result.status != "ok"] == []


@pytest.mark.no_cover  # what it runs is what the cases as they are ran already
@pytest.mark.parametrize(("case", "name"), TENSORS, ids=name_of)
def test_an_altered_tensor_is_noticed(case: Path, name: str, altered: Callable[..., Path]) -> None:
    result = verify_case(altered(case, name))
    without_influence = name.removeprefix("weight.") in result.idle or (case.stem, name) in UNUSED
    assert result.status == ("ok" if without_influence else "failed"), result.reason
