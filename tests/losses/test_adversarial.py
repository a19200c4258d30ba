"""Losses of a judge and of who makes pictures; golden cases hold them to the published ones."""

import math

import torch

from fuseloom.losses.adversarial import adversarial_loss, judgement_loss, likeness_loss


def test_a_judge_that_knows_has_nothing_to_learn() -> None:
    sure = {"depth": torch.full((2, 1, 3, 3), 40.0)}
    assert judgement_loss(sure, {"depth": -sure["depth"]}) < 1e-6
    assert adversarial_loss(sure) < 1e-6
    assert adversarial_loss({"depth": -sure["depth"]}) == 40


def test_streams_add_up() -> None:
    unsure = {name: torch.zeros(1, 1, 2, 2) for name in ("depth", "edges")}
    torch.testing.assert_close(adversarial_loss(unsure), torch.tensor(2 * math.log(2)))
    torch.testing.assert_close(judgement_loss(unsure, unsure), torch.tensor(2 * math.log(2)))


def test_likeness_is_of_every_picture_that_was_made() -> None:
    made, target = torch.zeros(2, 3, 1, 2, 2), torch.ones(2, 1, 2, 2)
    made[:, 2] = 1
    assert likeness_loss(made, target) == 2
