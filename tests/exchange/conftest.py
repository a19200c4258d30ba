"""Streams of every rank, and masks with every kind of hole."""

import pytest
import torch
from torch import Tensor


@pytest.fixture
def streams() -> dict[str, Tensor]:
    """Tokens, an embedding and a feature map."""
    return {"text": torch.randn(4, 3, 4), "audio": torch.randn(4, 6), "video": torch.randn(4, 5, 2, 3)}


@pytest.fixture
def masks() -> dict[str, Tensor]:
    """Samples with everything, with text alone, with one pixel of the video missing, with nothing."""
    text = torch.tensor([[True] * 3, [True, False, True], [True] * 3, [False] * 3])
    video = torch.ones(4, 2, 3, dtype=torch.bool)
    video[2, 0, 1] = False
    video[[1, 3]] = False
    return {"text": text, "audio": torch.tensor([True, False, True, False]), "video": video}
