"""What every test shares: a seed, one torch thread, hypothesis without chance, folders of outside data."""

import gzip
import os
import struct
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("fuseloom", derandomize=True, deadline=None, database=None)
settings.load_profile("fuseloom")


def pytest_configure(config: pytest.Config) -> None:
    """Keep the seed that each test starts with: thinc, which spaCy brings, would set another behind it."""
    config.option.randomly_reset_seed = False


@pytest.fixture(scope="session", autouse=True)
def _few_resamples() -> Iterator[None]:
    """Comparisons are made in a hundred tests: their intervals of information need not be fine."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fuseloom.comparison.diagnosis._RESAMPLES", 4)
        yield


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


@pytest.fixture
def av_digits_twin(tmp_path: Path) -> Path:
    """The files of av-digits: 240 pictures whose first pixel is their number, two recordings per speaker."""
    folder = tmp_path / "av-digits"
    (folder / "recordings").mkdir(parents=True)
    pixels = np.zeros((240, 12, 12), np.uint8)
    pixels[:, 0, 0] = np.arange(240)
    arrays = {"t10k-images-idx3-ubyte.gz": pixels, "t10k-labels-idx1-ubyte.gz": pixels[:, 0, 0] % 10}
    for name, values in arrays.items():
        head = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
        (folder / name).write_bytes(gzip.compress(head + values.tobytes()))
    generator = np.random.default_rng(0)
    for name in (f"{d}_{who}_{n}" for d in range(10) for who in "abcdef" for n in range(2)):
        with wave.open(str(folder / "recordings" / f"{name}.wav"), "wb") as file:
            file.setparams((1, 2, 8000, 400, "NONE", ""))
            file.writeframes(generator.integers(-3000, 3000, 400).astype("<i2").tobytes())
    return folder
