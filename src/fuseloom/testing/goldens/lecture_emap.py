"""Runners of projections: additive of two modalities (EMAP), and of three by order (UC, BI, TI)."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fuseloom.diagnose.projection import Projection, project
from fuseloom.diagnose.split import Split
from fuseloom.metrics.interaction_orders import interaction_orders
from fuseloom.testing.goldens._case import Given, Runner
from fuseloom.types import Batch

__all__ = ["RUNNERS"]


def _emap(given: Given) -> dict[str, Tensor]:
    cube = given.inputs["cube"]  # [N, N, K]
    found = _projected(cube, ("text", "image"))
    tensors = {"output.original_diagonal": found.own, "output.emap": found.additive}
    if cube.shape[-1] > 1:
        tensors |= {
            "output.original_argmax": found.own.argmax(-1),
            "output.emap_argmax": found.additive.argmax(-1),
        }
    return tensors


def _parts(given: Given) -> dict[str, Tensor]:
    table = given.inputs["F"]  # [N, N, N]
    orders = [torch.from_numpy(part) for part in interaction_orders(table.numpy(), 3)]
    uni, bi, tri = orders
    itself = (torch.arange(len(table)),) * 3
    return {
        "output.UC_full": uni,
        "output.BI_full": bi,
        # That of the diagonal is the streaming form's, so that both forms are held to the stored values.
        "output.UC": _projected(table[..., None], ("text", "video", "audio")).additive[:, 0],
        "output.BI": bi[itself],
        "output.TI": tri[itself],
    }


def _projected(table: Tensor, names: tuple[str, ...]) -> Projection:
    """The exact projection of a function that looks its outputs ``[N, ..., N, K]`` up."""
    rows = Batch(inputs=dict.fromkeys(names, torch.arange(len(table))))
    parts = Split(together=lambda batch: np.asarray(table[tuple(batch.inputs[name] for name in names)]))
    return project(parts, rows, partners="all")


RUNNERS: Mapping[str, Runner] = {
    "lecture/derived_uc_bi_ti": Runner(run=_parts),
    "lecture/emap": Runner(run=_emap),
}
