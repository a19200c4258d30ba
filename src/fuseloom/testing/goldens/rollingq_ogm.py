"""Runners of the cases of OGM and OGM-GE: of the paper's own code, and of BalanceMM."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from fuseloom.encoders import Encoder
from fuseloom.merge.sum import Sum
from fuseloom.models.fusion import FusionModel
from fuseloom.testing.goldens._case import Given, Runner
from fuseloom.testing.goldens._tiny import (
    Layout,
    classes,
    encoder_gradients,
    gradient_of,
    official_gradients,
    tiny_batch,
    tiny_encoders,
    tiny_model,
    vectors,
)
from fuseloom.train.fit import seeded
from fuseloom.train.remedies import Passage, Remedied
from fuseloom.train.remedies._on_the_fly import OnTheFly, modulation_factors
from fuseloom.train.remedies._scores import ScoreSums, score_ratios
from fuseloom.train.remedies.ogm import OGM
from fuseloom.train.remedies.ogm_ge import OGMGE
from fuseloom.types import Batch

__all__ = ["RUNNERS"]

_REMEDIES: Mapping[str, type[OnTheFly]] = {"OGM": OGM, "OGM_GE": OGMGE}
_PAPER_SEED, _TOOLKIT_SEED = 77, 123
"""Of the noise; set before the step."""
_LETTERS = {"audio": "a", "visual": "v"}
_ADDED = {"audio": "fusion_module.fc_x.", "visual": "fusion_module.fc_y."}
"""Linear maps of the official fusion by sum."""
_IDLE = ("*.bn.running_*", "*.bn.num_batches_tracked", "*.conv1.bias")
"""In training BatchNorm takes away the mean of the batch, and a bias before it."""


def _convolutions(state: Mapping[str, Tensor]) -> Encoder:
    """Convolution, BatchNorm, ReLU and a convolution of stride 2; then the mean over all places."""
    (first, channels), (dim, inner) = (state[f"conv{n}.weight"].shape[:2] for n in (1, 2))
    layers: dict[str, nn.Module] = {
        "conv1": nn.Conv2d(channels, first, 3, padding=1),
        "bn": nn.BatchNorm2d(first),
        "relu": nn.ReLU(),
        "conv2": nn.Conv2d(inner, dim, 3, stride=2, padding=1),
        "mean": nn.AdaptiveAvgPool2d(1),
        "flat": nn.Flatten(),
    }
    net = nn.Sequential(OrderedDict(layers))
    net.load_state_dict(dict(state))
    return vectors(net, dim)


_PAPER = Layout(encoder="{}_net.", build=_convolutions)


def _summed_model(given: Given) -> FusionModel:
    """The official model that adds the logits of its modalities."""
    encoders = tiny_encoders(given, layout=_PAPER)
    official = {name: given.weights.under(prefix) for name, prefix in _ADDED.items()}
    merge = Sum({n: e.dims[-1] for n, e in encoders.items()}, len(official["audio"]["bias"]))
    state = {f"embed.{n}.{kind}": value for n, own in official.items() for kind, value in own.items()}
    merge.load_state_dict(state)
    return FusionModel(encoders, merge, nn.Identity())


def _summed_gradients(model: FusionModel) -> dict[str, Tensor]:
    found = encoder_gradients(model, layout=_PAPER)
    for key, value in model.merge.named_parameters():
        _, name, kind = key.split(".")
        found[f"{_ADDED[name]}{kind}"] = gradient_of(value)
    return found


def _paper(given: Given) -> dict[str, Tensor]:
    summed = given.option("fusion") == "sum"
    model = _summed_model(given) if summed else tiny_model(given, layout=_PAPER)
    inputs = {"audio": given.inputs["spec"][:, None], "visual": given.inputs["image"]}
    batch = Batch(inputs=inputs, target=given.inputs["label"])
    remedy = _REMEDIES[given.option("modulation")](alpha=given.option("alpha"), min_axes=4)
    gradients = _summed_gradients if summed else partial(official_gradients, layout=_PAPER)
    remedied = Remedied(model, remedy, classes(model.merge.dim))
    found = _stepped(remedied, batch, gradients=gradients, seed=_PAPER_SEED)
    seen = Passage(remedied.view, batch, remedied.task)
    found |= {f"mid.out_{letter}": seen.split()[name] for name, letter in _LETTERS.items()}
    return found | _compared(seen, given.option("alpha"), names=_LETTERS) | {"mid.out": seen.outputs}


def _toolkit(given: Given) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for prefix in dict.fromkeys(name.partition(".")[0] for name in given.inputs):
        model, batch = tiny_model(given), tiny_batch(given, f"{prefix}.")
        remedy = _REMEDIES[given.option("method")](alpha=given.option("alpha"))
        remedied = Remedied(model, remedy, classes(model.merge.dim))
        own = _stepped(remedied, batch, gradients=official_gradients, seed=_TOOLKIT_SEED)
        seen = Passage(remedied.view, batch, remedied.task)
        own |= {f"mid.logits_{name}": value for name, value in seen.split().items()}
        own |= _compared(seen, given.option("alpha"), names={name: name for name in seen.modalities})
        own["mid.logits_output"] = seen.outputs
        found |= {name.replace(".", f".{prefix}.", 1): value for name, value in own.items()}
    return found


def _compared(seen: Passage, alpha: float, *, names: Mapping[str, str]) -> dict[str, Tensor]:
    """Scores, which officially are sums over the batch, their ratios and what gradients are multiplied by."""
    sums = ScoreSums()
    sums.add(seen)
    scores = sums.take(lambda values: values)
    ratios, factors = score_ratios(scores), modulation_factors(scores, alpha=alpha)
    found: dict[str, Tensor] = {}
    for name, short in names.items():
        found[f"output.score_{short}"] = scores[name] * len(seen.batch)
        found[f"output.ratio_{short}"] = ratios[name]
        found[f"output.coeff_{short}"] = factors[name]
    return found


def _stepped(
    remedied: Remedied,
    batch: Batch,
    *,
    gradients: Callable[[FusionModel], dict[str, Tensor]],
    seed: int,
) -> dict[str, Tensor]:
    """Loss and gradients of a step of training, before and behind the rule."""
    model = remedied.model
    assert isinstance(model, FusionModel)
    with seeded(seed):
        loss = remedied.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        before = gradients(model)
        remedied.before_step()
    found = {f"mid.grad_before.{name}": value for name, value in before.items()}
    found |= {f"output.grad_after.{name}": value for name, value in gradients(model).items()}
    return found | {"output.loss": loss}


RUNNERS: Mapping[str, Runner] = {
    "rollingq/ogm_cvpr22_sum": Runner(run=_paper, idle=lambda _: _IDLE),
    "rollingq/ogm_ge_bb": Runner(run=_toolkit),
    "rollingq/ogm_ge_cvpr22": Runner(run=_paper, idle=lambda _: _IDLE),
}
