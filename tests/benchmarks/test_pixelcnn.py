"""The program that says what painting from kept rows saves."""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from fuseloom.losses.logistic_mixture import draw_uniforms, sample_logistic_mixture
from fuseloom.models.muse.pixelcnn import PixelCnn


@pytest.fixture
def program() -> Any:
    return import_module("pixelcnn")


def test_a_pixel_of_the_plain_sampler_is_drawn_from_a_forward(program: Any) -> None:
    model = PixelCnn(768, num_resnet=1, num_filters=2, num_mixtures=2).eval()
    embedding, images, noise = torch.randn(2, 768), torch.rand(2, 3, 4, 4), draw_uniforms((2, 5, 1, 1))
    expected = sample_logistic_mixture(model(embedding, images)[..., 3:, 3:], noise)
    program.pixel(model, embedding, images, noise)
    torch.testing.assert_close(images[..., 3:, 3:], expected)


def test_both_ways_are_measured_stored_and_shown(
    program: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "pixelcnn.json"
    small = ["--size", "4", "--resnet", "1", "--filters", "2", "--seconds", "0"]
    assert program.main([*small, "--batch", "1", "--batch", "3", "--json", str(path)]) == 0
    found = json.loads(path.read_text("utf-8"))
    assert [one["batch"] for one in found["rows"]] == [1, 3]
    for one in found["rows"]:
        assert one["plain_estimated_s"] == pytest.approx(16 * one["plain_pixel_s"])
        assert one["ratio"] == pytest.approx(one["plain_estimated_s"] / one["kept_s"])
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4
    assert shown[-1].startswith("images of 4 x 4, F 2, 1 blocks; plain: 16 times the median of one forward")
