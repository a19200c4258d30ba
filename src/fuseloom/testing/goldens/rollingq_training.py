"""Runner of RollingQ's training loop on a small model: AIR, target and weights, by `RollingQuery`."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import LambdaLR

from fuseloom.metrics.attention import key_cosine
from fuseloom.nn.rotation import MatrixRotation
from fuseloom.nn.turned_query import turned_by
from fuseloom.testing.goldens._case import Given, Runner
from fuseloom.testing.goldens.rollingq_attention import all_weights, stored_rotation, turned_pool
from fuseloom.train.class_adapters import adapt
from fuseloom.train.class_attention import ClassReading
from fuseloom.train.rolling_query import MeanReading, Roll, RollingQuery

__all__ = ["RUNNERS"]

_NAMES = ("a", "v")
_FUSION = "fusion_module."
_WARMUP = 2.5
"""Epochs over which the learning rate rises."""
_OURS = {
    "attn.w_qs": "query.parametrizations.{}.original",
    "attn.w_ks": "key.{}",
    "attn.w_vs": "value.{}",
    "attn.fc": "out.{}",
}
"""Official linear map -> ours, of which it is ``weight`` or ``bias``."""


class _Model(nn.Module):
    """The official model around a small encoder; our part in place of its fusion layer."""

    def __init__(self, given: Given) -> None:
        super().__init__()
        official = given.weights.under(_FUSION)
        rotation = stored_rotation(official["rotate"], len(official["attn.w_qs.bias"]))
        self.merge, state = turned_pool(official, dict.fromkeys(_NAMES, given.option("edim")), rotation)
        self.merge.load_state_dict(state, assign=True)
        self.merge.embed.requires_grad_(False)  # identities, which the official layer does not have
        self.encoders = nn.ModuleDict({n: _linear(given.weights.under(f"encoder.p{n}.")) for n in _NAMES})
        self.head = _linear({name: official[f"FC.{name}"] for name in ("weight", "bias")})
        self.probes = nn.ModuleDict({n: _linear(given.weights.under(f"{n}_head.")) for n in _NAMES})

    def encode(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tokens of both modalities."""
        return {name: encoder(batch[name]).tanh() for name, encoder in self.encoders.items()}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Logits."""
        out: Tensor = self.head(self.merge(self.encode(batch)))
        return out

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Of the logits and of both probes, which do not reach the encoders."""
        tokens, target = self.encode(batch), batch["label"]
        loss = F.cross_entropy(self.head(self.merge(tokens)), target)
        for name, probe in self.probes.items():
            loss = loss + F.cross_entropy(probe(tokens[name][:, 0].detach()), target)
        return loss

    @property
    def rotation(self) -> MatrixRotation:
        """What turns the query."""
        rotation = turned_by(self.merge.query)
        assert isinstance(rotation, MatrixRotation)
        return rotation

    def official(self) -> dict[str, Tensor]:
        """The fusion layer's weights under their official names."""
        state = self.merge.state_dict()
        found = {"cls_token": state["class_token"][None, None], "rotate": self.rotation.product[0].float()}
        for kind in ("weight", "bias"):
            found |= {f"{theirs}.{kind}": state[ours.format(kind)] for theirs, ours in _OURS.items()}
            found[f"FC.{kind}"] = self.head.state_dict()[kind]
        return found


def _linear(state: Mapping[str, Tensor]) -> nn.Linear:
    rows, columns = state["weight"].shape
    linear = nn.Linear(columns, rows, device="meta")
    linear.load_state_dict({name: value.clone() for name, value in state.items()}, assign=True)
    return linear.requires_grad_()


def _training(given: Given) -> dict[str, Tensor]:
    batches = [given.inputs.under(f"batch{n}.") for n in range(len(given.option("batch_sizes")))]
    model = _Model(given)
    rolling = RollingQuery(
        rho=given.option("sigma"),
        beta=given.option("beta"),
        max_rotations=given.option("r_time"),
        faithful=True,
    )
    optimizer, schedule = _optimizer(given, model, len(batches))
    found: dict[str, Tensor] = {}
    for epoch in range(given.option("epochs")):
        model.train()
        for step, batch in enumerate(batches):
            with rolling.watching(model, step, len(batches)), adapt(model.merge).reading() as readings:
                loss = model.loss(batch)
            _step(model, optimizer, loss)
            schedule.step()
        schedule.step()
        seen = _last_batch(readings[0]) | _end_epoch(model, rolling, given, batches)
        found |= {name.replace(".", f".epoch{epoch}.", 1): value for name, value in seen.items()}
    return found | {f"output.final_weight.{name}": value for name, value in _weights(model, given).items()}


def _optimizer(given: Given, model: nn.Module, steps: int) -> tuple[torch.optim.Optimizer, LambdaLR]:
    options = {name: given.option("optimiser")[name] for name in ("lr", "momentum", "weight_decay")}
    optimizer = torch.optim.SGD((v for v in model.parameters() if v.requires_grad), **options)
    rising, total = int(_WARMUP * steps), steps * given.option("epochs")

    def rate(step: int) -> float:
        # Beyond its end, where the official loop goes, a cosine rises again.
        done = (step - rising) / max(1, total - rising)
        return step / rising if step < rising else (1 + math.cos(math.pi * done)) / 2

    return optimizer, LambdaLR(optimizer, rate)


def _step(model: _Model, optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    # No output depends on the keys' bias; in the official code its gradient is zero and weights decay.
    model.merge.key.bias.grad = torch.zeros_like(model.merge.key.bias)
    optimizer.step()


def _last_batch(reading: ClassReading) -> dict[str, Tensor]:
    query, found = reading.query[:, 0], {}
    for name, key in reading.keys.items():
        found[f"mid.avg_k{name}_last_batch"] = key[:, 0]
        found[f"mid.cos_theta_{name}"] = key_cosine(query, key[:, 0])
    return found | {"mid.query_last_batch": query}


def _end_epoch(
    model: _Model, rolling: RollingQuery, given: Given, batches: list[dict[str, Tensor]]
) -> dict[str, Tensor]:
    before, mean = model.rotation.state_dict(), MeanReading(by_batch=True)
    with adapt(model.merge).reading() as readings, torch.no_grad():
        for batch in batches:
            model(batch)
    for reading in readings:
        mean.add(reading)
    roll = rolling.end_epoch(model, (model(batch) for batch in batches))
    found = {"output.AIR": torch.tensor(roll.rates[0])}
    if roll.decision == "rotated":
        found |= _rotated(model, mean, roll)
        model.rotation.load_state_dict(before)
        model.rotation.multiply(given.inputs[f"epoch{roll.epoch}.rotation"][None])
        found["output.rotate_buffer"] = model.rotation.product[0].float()
    model.eval()
    with torch.no_grad():
        first = model.encode(batches[0])
        found["output.eval_logits_batch0"] = model(batches[0])
        found["output.eval_attn_batch0"] = all_weights(model.official(), first, model.rotation)["attn"]
    return found


def _rotated(model: _Model, mean: MeanReading, roll: Roll) -> dict[str, Tensor]:
    """What led to the rotation; it has turned the query to its target, however it turned all else."""
    found = {f"mid.avg_{name}": key[0].float() for name, key in mean.keys.items()}
    return found | {
        "mid.query_mean": mean.query[0].float(),
        "mid.target": model.merge.class_query()[0].detach(),
        "output.alpha": torch.tensor(roll.shares["a"][0]),
    }


def _weights(model: _Model, given: Given) -> dict[str, Tensor]:
    found = {f"{_FUSION}{name}": value for name, value in model.official().items()}
    # The official code never calls it, and an optimiser leaves what has no gradient.
    found |= {name: given.weights[name] for name in given.weights if ".layer_norm." in name}
    for name in _NAMES:
        for theirs, part in (
            (f"encoder.p{name}", model.encoders[name]),
            (f"{name}_head", model.probes[name]),
        ):
            found |= {f"{theirs}.{key}": value for key, value in part.state_dict().items()}
    return found


RUNNERS: Mapping[str, Runner] = {"rollingq/e2e_rollingq": Runner(run=_training)}
