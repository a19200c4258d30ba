"""Runners of the audio preprocessing of the RollingQ and OGM-GE repositories."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fuseloom.data.dataset import Audio
from fuseloom.data.media import Sound
from fuseloom.data.preprocessing.spectrogram import FilterbankPreprocessor, SpectrogramPreprocessor
from fuseloom.testing.goldens._case import Given, Runner

__all__ = ["RUNNERS"]

_RATE = 22_050
_STORED_FRAMES, _STORED_PAD = 60, 4
_NO_ROWS = np.empty(0, dtype=np.intp)


def _spectrograms(given: Given) -> dict[str, Tensor]:
    found = {}
    for name in given.inputs:
        recording = _recording(given.inputs[name], _RATE)
        values, mask = SpectrogramPreprocessor.fit(recording, _NO_ROWS).apply(recording)
        found[f"output.spectrogram{_number(name)}"] = torch.from_numpy(values[mask]).T
    return found


def _filterbanks(given: Given) -> dict[str, Tensor]:
    found = {}
    for name in given.inputs:
        number = _number(name)
        recording = _recording(given.inputs[name], given.option("sample_rates")[number])
        values, mask = FilterbankPreprocessor.fit(recording, _NO_ROWS).apply(recording)
        found[f"output.fbank{number}_first"] = torch.from_numpy(values[mask][:_STORED_FRAMES])
        found[f"output.fbank{number}_pad_value"] = torch.from_numpy(values[~mask][0, :_STORED_PAD])
    return found


def _recording(wave: Tensor, rate: int) -> Audio:
    items = np.empty(1, dtype=object)
    items[0] = Sound(samples=wave.reshape(-1).numpy(), rate=rate)
    return Audio(items=items)


def _number(name: str) -> int:
    return int(name.removeprefix("wave"))


RUNNERS: Mapping[str, Runner] = {
    "rollingq/prep_cremad": Runner(run=_spectrograms),
    "rollingq/prep_kinetics": Runner(run=_filterbanks),
}
