import math

import numpy as np
import pytest

from fuseloom.data.taskonomy_domains import decode_domain
from fuseloom.errors import DataError, UnknownNameError


def test_depth_is_a_logarithm_that_loses_its_fractions():
    found = decode_domain(np.array([[0, 511, 65535]], dtype=np.uint16), "depth_zbuffer")
    numbers = [int(math.log(1 + value) * 255 / 11.1) for value in (0, 511, 65535)]
    np.testing.assert_allclose(found[1, 0], [number / 127.5 - 1 for number in numbers], atol=1e-6)


def test_what_has_one_channel_is_repeated_and_colours_stay():
    edges = decode_domain(np.array([[11584, 5792]]), "edge_occlusion")
    assert edges.shape == (3, 1, 2)
    np.testing.assert_allclose(edges[2, 0], [1.0, 127 / 127.5 - 1], atol=1e-6)
    colours = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    np.testing.assert_allclose(
        decode_domain(colours, "rgb"), colours.transpose(2, 0, 1) / 127.5 - 1, atol=1e-6
    )


def test_a_domain_must_be_known_and_have_one_channel_or_three():
    with pytest.raises(
        UnknownNameError, match=r"Unknown domain 'depth_zbufer'\. Did you mean 'depth_zbuffer'"
    ):
        decode_domain(np.zeros((2, 2)), "depth_zbufer")
    with pytest.raises(DataError, match="must have 1 or 3 channels, got 2"):
        decode_domain(np.zeros((2, 2, 2)), "rgb")
