from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fuseloom.errors import DataError
from fuseloom.testing.goldens import RUNNERS, Given, Ledger, read_case
from fuseloom.testing.verify import verify_case

HERE = Path(__file__).parents[2] / "goldens" / "lecture"


def given(config: dict[str, object], **tensors: torch.Tensor) -> Given:
    weights = {n.replace("_", ".", 1): value for n, value in tensors.items() if n.startswith("fc_")}
    inputs = {n: value for n, value in tensors.items() if not n.startswith("fc_")}
    return Given(inputs=Ledger(inputs), weights=Ledger(weights), config=config, mode="eval")


def test_weights_declared_idle_have_no_influence(altered: Callable[[Path, str], Path]) -> None:
    case = HERE / "lmf__train_rank1_out3_b4.json"
    idle = verify_case(case).idle
    assert idle == tuple(
        f"{name}_subnet.norm.running_{what}" for name in ("audio", "video") for what in ("mean", "var")
    )
    run = RUNNERS["lecture/lmf"].run
    before = run(read_case(case).given())
    for name in idle:
        after = run(read_case(altered(case, f"weight.{name}")).given())
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_nothing_is_idle_in_evaluation() -> None:
    assert verify_case(HERE / "lmf__eval_softmax_out4_b3.json").idle == ()


def test_more_than_ten_modalities_keep_their_order() -> None:
    values = {f"m{i}": torch.full((1, 1), float(i)) for i in range(11)}
    stored = given({}, **values, cotangent=torch.ones(1, 11))
    out = RUNNERS["lecture/mb_concat"].run(stored)["output.y"]
    torch.testing.assert_close(out, torch.arange(11.0)[None])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"input_dim": 4, "output_dim": 2, "concat_dim": 1}, r"'fc.weight' must have shape \[2, 4\]"),
        ({"input_dim": 3, "output_dim": 2, "concat_dim": 2}, "concat_dim must be the last axis"),
        ({"input_dim": 3, "output_dim": 2}, r"config must have 'concat_dim', got \['input_dim'"),
    ],
)
def test_a_configuration_that_contradicts_given_tensors_is_refused(
    config: dict[str, object], message: str
) -> None:
    values = {"m0": torch.ones(1, 1), "m1": torch.ones(1, 2)}
    with pytest.raises(DataError, match=message):
        RUNNERS["lecture/mb_concatwithlinear"].run(
            given(config, **values, fc_weight=torch.ones(2, 3), fc_bias=torch.ones(2))
        )
