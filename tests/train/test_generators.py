import random

import numpy as np
import pytest
import torch

from fuseloom.train.generators import (
    drawing_state,
    generator_states,
    replayed,
    restore_generators,
    undisturbed,
)


def draw():
    return (
        torch.rand(3).tolist(),
        np.random.rand(3).tolist(),  # noqa: NPY002
        np.random.normal(),  # noqa: NPY002
        random.random(),
        random.gauss(),
    )


def test_all_generators_draw_again_what_they_drew(tmp_path):
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    draw()  # an odd number of normal values leaves one in hand
    torch.save(generator_states(), tmp_path / "states.pt")
    wanted = [draw(), draw()]
    restore_generators(torch.load(tmp_path / "states.pt", weights_only=True))
    assert [draw(), draw()] == wanted
    assert wanted[0] != wanted[1]


def test_what_is_drawn_in_between_is_not_missed():
    states = generator_states()
    wanted = draw()
    restore_generators(states)

    def fail():
        with undisturbed():
            draw()
            raise RuntimeError("it went wrong")

    with pytest.raises(RuntimeError, match="it went wrong"):
        fail()
    assert draw() == wanted


@pytest.mark.parametrize("advance", [False, True])
def test_a_state_that_was_is_drawn_from_again(advance):
    state = drawing_state(torch.device("cpu"))
    first = torch.rand(3)
    behind = torch.rand(3)
    then = drawing_state(torch.device("cpu"))
    after = torch.rand(2)
    torch.set_rng_state(then[1])
    with replayed(state, advance=advance):
        assert torch.rand(3).equal(first)
    if advance:
        assert torch.rand(3).equal(behind)
    else:
        assert torch.rand(2).equal(after)


def test_what_fails_inside_is_not_missed_either():
    state = drawing_state(torch.device("cpu"))
    torch.rand(5)
    wanted = torch.get_rng_state()

    def fail():
        with replayed(state):
            torch.rand(2)
            raise RuntimeError("it went wrong")

    with pytest.raises(RuntimeError, match="it went wrong"):
        fail()
    assert torch.get_rng_state().equal(wanted)


def test_draws_on_a_gpu_are_replayed_there(monkeypatch):
    states = {"cuda:1": torch.tensor([1])}

    def take(value, device):
        states[str(device)] = value

    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: states[str(device)])
    monkeypatch.setattr(torch.cuda, "set_rng_state", take)
    state = drawing_state(torch.device("cuda", 1))
    take(torch.tensor([2]), "cuda:1")
    with replayed(state):
        assert states["cuda:1"].item() == 1
    assert states["cuda:1"].item() == 2
