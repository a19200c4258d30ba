"""A saved model as an ONNX file, checked against itself."""

import json
import logging
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.data import Dataset, preprocessors_state
from fuseloom.errors import MissingExtraError, OptionError
from fuseloom.models.dense_systems import DensePredictor
from fuseloom.train.files import reporting
from fuseloom.train.saved import SavedModel

__all__ = ["Exported", "export_onnx"]

_MASK = ".mask"
_ABOUT = "fuseloom"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An ONNX file, and how far it is from the model."""

    inputs: Sequence[str]
    """Names of its inputs: modalities, and behind each its mask."""
    output: str
    """``labels`` ``[B, H, W]`` of a model that labels pixels, otherwise ``outputs``."""
    rows: int
    """On how many rows it was run."""
    largest: float
    """The largest difference of an output; of labels the share of pixels that differ."""


class _Flat(nn.Module):
    """A model of tensors in a row, as a graph has them."""

    def __init__(self, model: nn.Module, names: Sequence[str], size: tuple[int, int] | None) -> None:
        super().__init__()
        self.model, self.names, self.size = model, tuple(names), size

    def forward(self, *tensors: Tensor) -> Tensor:
        """Outputs, or labels of pixels."""
        inputs = dict(zip(self.names, tensors[::2], strict=True))
        masks = dict(zip(self.names, tensors[1::2], strict=True))
        outputs: Tensor = self.model(inputs, masks)
        if self.size is None:
            return outputs
        wide = F.interpolate(outputs, size=self.size, mode="bilinear", align_corners=False)
        return wide.argmax(1).to(torch.uint8)


def export_onnx(saved: SavedModel, dataset: Dataset, path: Path) -> Exported:
    """Write a model as ONNX, run it on some rows, and say how far it is from the model.

    The graph takes what the model takes, a batch of any size: of each modality its encoded values and its
    mask. How values are encoded, and what the outputs mean, is under ``fuseloom`` in the file's metadata, as
    JSON: the state of the preprocessors and of the task.

    Args:
        saved: The model.
        dataset: Rows such as it predicts, two at least.
        path: The file.

    Raises:
        MissingExtraError: onnxscript or onnxruntime is not installed.
        OptionError: fewer than two rows, or a model with a part that a graph cannot have.
        RunError: the file cannot be written.
    """
    _check_installed()
    if len(dataset) < 2:
        raise OptionError(
            f"rows must be two at least, so that a graph of any number can be made, got {len(dataset)}."
        )
    batch = saved.encode(dataset)
    names = [*batch.inputs]
    tensors = [part for name in names for part in (batch.inputs[name], batch.masks[name])]
    labelled = [part for name in names for part in (name, name + _MASK)]
    is_dense = isinstance(saved.model, DensePredictor)
    output = "labels" if is_dense else "outputs"
    flat = _Flat(saved.model, names, saved.task.size if is_dense else None).eval()
    program = _program(flat, tensors, labelled, output)
    about = {
        "task": {"name": saved.task.name, **saved.task.state()},
        "preprocessors": preprocessors_state(saved.preprocessors),
    }
    program.model.metadata_props[_ABOUT] = json.dumps(about)
    with reporting(path):
        program.save(str(path))
    with torch.inference_mode():
        expected = flat(*tensors).numpy()
    found = _run(path, {n: one.numpy() for n, one in zip(labelled, tensors, strict=True)})
    gap = (found != expected).mean() if is_dense else np.abs(found - expected).max(initial=0)
    return Exported(inputs=labelled, output=output, rows=len(dataset), largest=float(gap))


def _check_installed() -> None:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"Exporting needs {error.name}. Install it with: pip install 'fuseloom[onnx]'"
        ) from None


def _program(flat: nn.Module, tensors: Sequence[Tensor], names: Sequence[str], output: str) -> Any:
    batch = torch.export.Dim("batch", min=1)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch about its own parts
            return torch.onnx.export(
                flat,
                tuple(tensors),
                dynamo=True,
                input_names=list(names),
                output_names=[output],
                dynamic_shapes=(tuple({0: batch} for _ in tensors),),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        first = str(error).strip().splitlines()[0]
        raise OptionError(f"The model must have parts that a graph can have, got: {first}.") from None


def _run(path: Path, inputs: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found: NDArray[Any] = session.run(None, dict(inputs))[0]
    return found
