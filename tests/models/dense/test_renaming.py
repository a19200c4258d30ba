"""Rules that translate the names of weights."""

import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.models.dense.renaming import Rule, renamed

NAMES = ["rgb", "depth"]
RULES = [
    Rule("norm{k}.ln_{modality}.{what}", "norms.{k}.{modality}.{what}", {"k": 1}),
    Rule("head.weight", "classify.weight"),
]


def test_names_go_there_and_back() -> None:
    official = {
        "module.norm2.ln_0.weight": torch.ones(1),
        "module.norm2.num_batches_tracked": torch.tensor(3),
        "module.head.weight": torch.ones(2),
    }
    ours = renamed(official, RULES, NAMES, to="ours", model="one")
    assert list(ours) == ["norms.1.rgb.weight", "classify.weight"]
    assert list(renamed(ours, RULES, NAMES, to="official", model="one")) == [
        "norm2.ln_0.weight",
        "head.weight",
    ]


@pytest.mark.parametrize(
    "key", ["norm1.ln_2.bias", "norm1.ln_0.scale", "head.weight.more", "norma.ln_0.bias"]
)
def test_what_no_rule_is_of_is_refused(key: str) -> None:
    with pytest.raises(OptionError, match="The state must be that of one, got "):
        renamed({key: torch.ones(1)}, RULES, NAMES, to="ours", model="one")


def test_a_modality_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match=r"got 'norms\.0\.heat\.bias'"):
        renamed({"norms.0.heat.bias": torch.ones(1)}, RULES, NAMES, to="official", model="one")
