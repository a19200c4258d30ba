from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """Tokens and an embedding of four samples that have both, one or none of the two modalities."""

    dims: Mapping[str, int]
    streams: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]
    pooled: Mapping[str, NDArray[np.float64]]
    """Mean of the real tokens, taken sample by sample; zeros where a modality is absent."""
    present: Mapping[str, NDArray[np.bool_]]


@pytest.fixture
def case() -> Case:
    text, audio = torch.randn(4, 3, 4), torch.randn(4, 3)
    tokens = torch.tensor([[True, True, False], [False] * 3, [True] * 3, [False] * 3])
    there = torch.tensor([False, True, True, False])
    pooled = {"text": np.zeros((4, 4)), "audio": np.zeros((4, 3))}
    for sample in range(4):
        if tokens[sample].any():
            pooled["text"][sample] = text[sample][tokens[sample]].double().numpy().mean(0)
        if there[sample]:
            pooled["audio"][sample] = audio[sample].double().numpy()
    return Case(
        dims={"text": 4, "audio": 3},
        streams={"text": text.masked_fill(~tokens[..., None], torch.nan), "audio": audio},
        masks={"text": tokens, "audio": there},
        pooled=pooled,
        present={"text": np.array([True, False, True, False]), "audio": there.numpy()},
    )


@pytest.fixture
def maps() -> dict[str, Tensor]:
    """Two feature maps ``[B, C, H, W]`` of the same pixels."""
    return {"rgb": torch.randn(2, 4, 5, 6), "depth": torch.randn(2, 3, 5, 6)}


@pytest.fixture
def pixels() -> Tensor:
    """Which pixels of ``rgb`` are real, ``[B, H, W]``; some of each sample are not."""
    return torch.arange(60).view(2, 5, 6) % 3 != 0
