"""What every test shares: a seed, one torch thread, hypothesis without chance, folders of outside data."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("fuseloom", derandomize=True, deadline=None, database=None)
settings.load_profile("fuseloom")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def goldens_dir() -> Path:
    """Folder of golden tensors, one folder per system."""
    return _outside("FUSELOOM_TEST_GOLDENS")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data sets."""
    return _outside("FUSELOOM_TEST_DATA")


def _outside(variable: str) -> Path:
    folder = os.environ.get(variable, "")
    if not folder or not Path(folder).is_dir():
        pytest.skip(f"{variable} names no folder")
    return Path(folder)
