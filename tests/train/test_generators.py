import random

import numpy as np
import pytest
import torch

from fuseloom.train.generators import generator_states, restore_generators, undisturbed


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
