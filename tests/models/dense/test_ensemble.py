"""The mean of what streams predict."""

import pytest
import torch

from fuseloom.errors import OptionError
from fuseloom.models.dense import Ensemble

NAMES = ["rgb", "depth", "heat"]


def predictions() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {name: torch.randn(2, 4, 3, 5, requires_grad=True) for name in NAMES}


@pytest.mark.parametrize("weighting", ["mean", "learned", "frozen"])
def test_it_starts_as_the_plain_mean(weighting: str) -> None:
    values = predictions()
    found = Ensemble(NAMES, weighting=weighting)(values, {})  # type: ignore[arg-type]
    torch.testing.assert_close(found, torch.stack([*values.values()]).mean(0))


def test_the_weights_learn_and_the_streams_do_not() -> None:
    values, ensemble = predictions(), Ensemble(NAMES)
    ensemble(values, {}).square().sum().backward()
    assert ensemble.alpha is not None
    assert ensemble.alpha.grad is not None
    assert ensemble.alpha.grad.abs().min() > 0
    assert all(value.grad is None for value in values.values())


def test_weights_are_shares_of_their_exponentials() -> None:
    values, ensemble = predictions(), Ensemble(NAMES)
    assert ensemble.alpha is not None
    with torch.no_grad():
        ensemble.alpha.copy_(torch.tensor([0.0, 1.0, 0.0]).mul(2).log1p())
    expected = (values["rgb"] + 3 * values["depth"] + values["heat"]) / 5
    torch.testing.assert_close(ensemble(values, {}), expected)


def test_frozen_weights_are_kept_and_not_trained() -> None:
    ensemble = Ensemble(NAMES, weighting="frozen")
    assert [*ensemble.state_dict()] == ["alpha"]
    assert not any(weight.requires_grad for weight in ensemble.parameters())
    assert not [*Ensemble(NAMES, weighting="mean").parameters()]


def test_of_each_sample_those_count_that_are_there() -> None:
    values = predictions()
    there = {"depth": torch.tensor([False, True]), "heat": torch.tensor([False, False])}
    found = Ensemble(NAMES)(values, there)
    torch.testing.assert_close(found[0], values["rgb"][0])
    torch.testing.assert_close(found[1], (values["rgb"][1] + values["depth"][1]) / 2)
    nobody = {name: torch.zeros(2, dtype=torch.bool) for name in NAMES}
    assert Ensemble(NAMES)(values, nobody).abs().max() == 0


def test_an_unknown_weighting_is_answered() -> None:
    with pytest.raises(OptionError, match=r"weighting must be one of .* got 'means'\. Did you mean 'mean'"):
        Ensemble(NAMES, weighting="means")  # type: ignore[arg-type]
