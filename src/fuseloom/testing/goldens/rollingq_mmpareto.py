"""Runners of the cases of MMPareto: a step, and shortest mixtures of gradients."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from fuseloom.testing.goldens._case import Given, Ledger, Runner
from fuseloom.testing.goldens._tiny import (
    Layout,
    classes,
    gradient_of,
    load_linear,
    official_gradients,
    tiny_model,
)
from fuseloom.train.remedies import Passage, Remedied
from fuseloom.train.remedies._min_norm import min_norm_weights
from fuseloom.train.remedies.mmpareto import MMPareto, pareto_shares
from fuseloom.types import Batch

__all__ = ["RUNNERS"]

_LETTERS = {"audio": "a", "visual": "v"}
_HEADS = {"audio": "head_audio.", "visual": "head_video."}
_LAYOUT = Layout(encoder="{}_net.", fusion="head.")
_MIDS = {"audio": "g", "visual": "gv"}
"""What the gradients of an encoder begin with."""


def _step(given: Given) -> dict[str, Tensor]:
    model = tiny_model(given, layout=_LAYOUT)
    remedy, heads = MMPareto(gamma=given.option("gamma")), {}
    remedied = Remedied(model, remedy, classes(model.merge.dim))
    for name, prefix in _HEADS.items():
        heads[name] = load_linear(given.weights.under(prefix))
    remedy.heads.update(heads)
    inputs = {name: given.inputs[letter] for name, letter in _LETTERS.items()}
    batch = Batch(inputs=inputs, target=given.inputs["label"])
    apart = _apart(remedy, Passage(remedied.view, batch, remedied.task))
    loss = remedied.loss(batch)
    loss.backward()  # type: ignore[no-untyped-call]
    remedied.before_step()
    gradients = official_gradients(model, layout=_LAYOUT)
    for name, head in heads.items():
        gradients |= {f"{_HEADS[name]}{key}": gradient_of(value) for key, value in head.named_parameters()}
    return apart | {f"output.grad.{n}": value for n, value in gradients.items()} | {"output.loss": loss}


def _apart(remedy: MMPareto, seen: Passage) -> dict[str, Tensor]:
    """Gradients of the joint loss and of the encoders' own, each by itself, and their shares."""
    losses, found = {"both": seen.loss, "uni": remedy.own_loss(seen)}, {}
    for name, start in _MIDS.items():
        parameters, whole = dict(seen.view.encoder(name).named_parameters()), {}
        for kind, loss in losses.items():
            gradients = torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)
            whole[kind] = torch.cat([gradient.flatten() for gradient in gradients])
            found[f"mid.{start}_{kind}.concat"] = whole[kind]
            for key, gradient in zip(parameters, gradients, strict=True):
                found[f"mid.{start}_{kind}.module.{_LAYOUT.official(name, key)}"] = gradient
        found[f"output.cos_{name}"] = F.cosine_similarity(whole["both"], whole["uni"], dim=0)
        found[f"output.{name}_k"] = pareto_shares(whole["both"], whole["uni"]).double()
    return found


def _min_norm(given: Given) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for case in given.option("cases"):
        prefix, count = f"case{case['case']}.", case["n"]
        vectors = torch.stack([_whole(given.inputs, f"{prefix}v{place}.") for place in range(count)])
        gram = vectors @ vectors.T
        # Officially the norm is that without the least share, which the shares themselves have.
        exact = min_norm_weights(gram, least=0.0)
        found |= {f"mid.{prefix}gram": gram, f"output.{prefix}min_norm": exact @ gram @ exact}
        found |= {f"output.{prefix}{name}": min_norm_weights(gram) for name in ("sol", "sol_fw")}
    return found | {"output.simplex_proj": _projected(given.inputs["simplex_y"])}


def _whole(inputs: Ledger, prefix: str) -> Tensor:
    return torch.cat([part.flatten().double() for _, part in sorted(inputs.under(prefix).items())])


def _projected(points: Tensor) -> Tensor:
    """The nearest points of the simplex: shortest mixtures of its corners as seen from each."""
    seen = torch.eye(points.shape[1], dtype=points.dtype) - points[:, None]
    return torch.stack([min_norm_weights(corners @ corners.T) for corners in seen])


RUNNERS: Mapping[str, Runner] = {
    "rollingq/mmpareto_min_norm": Runner(run=_min_norm),
    "rollingq/mmpareto_step": Runner(run=_step),
}
