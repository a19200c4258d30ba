import pytest
import torch

from fuseloom import Batch
from fuseloom.models import ModelConfig, build_model
from fuseloom.tasks.classification import Classification

TASK = Classification(["a", "b", "c"])
WIDTHS = {"text": 6, "audio": 4}


def some_rows(count, seed):
    generator = torch.Generator().manual_seed(seed)
    inputs = {name: torch.randn(count, width, generator=generator) for name, width in WIDTHS.items()}
    target = (inputs["text"][:, 0] > 0).long() + (inputs["audio"][:, 0] > 0).long()
    return Batch(inputs=inputs, masks={"audio": torch.rand(count, generator=generator) > 0.2}, target=target)


@pytest.fixture
def problem():
    """A task, how to build a model with dropout for it, and rows to train and validate on."""
    encoders = {name: {"kind": "embedding", "in_dim": width} for name, width in WIDTHS.items()}
    config = ModelConfig(encoders=encoders, fusion="cross_attention+low_rank", dim=8, dropout=0.3)
    return lambda: build_model(config, TASK), some_rows(70, 0), some_rows(600, 1), TASK
