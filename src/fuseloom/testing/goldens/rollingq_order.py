"""Runners of the remedies that change features, or the order in which modalities learn."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.merge.concat import Concat
from fuseloom.models.fusion import FusionModel
from fuseloom.part import zero_masked
from fuseloom.testing.goldens._case import Given, Runner, gradients, leaf
from fuseloom.testing.goldens._tiny import (
    classes,
    load_linear,
    official_gradients,
    perceptron,
    tiny_batch,
    tiny_model,
)
from fuseloom.train.remedies import Course, Encoded, FusionView, Passage, Remedied
from fuseloom.train.remedies._scores import score_ratios
from fuseloom.train.remedies.gblend import Trial, blend_weights, blended_loss, run_trial
from fuseloom.train.remedies.mla import gating_weights, next_projection, projected
from fuseloom.train.remedies.opm import drop_rates, drop_rows, dropped_share
from fuseloom.train.remedies.pmr import PMR, true_class_sum
from fuseloom.train.remedies.reconboost import ReconBoost, boosting_losses, disagreement
from fuseloom.types import Batch

__all__ = ["RUNNERS"]

_NAMES = ("audio", "visual")


def _opm(given: Given) -> dict[str, Tensor]:
    cases = sorted({name.partition(".")[0] for name in given.inputs})
    found: dict[str, Tensor] = {}
    for case in cases:
        for name, value in _opm_case(given, case).items():
            group, _, rest = name.partition(".")
            found[f"{group}.{case}.{rest}"] = value
    return found


def _opm_case(given: Given, case: str) -> dict[str, Tensor]:
    own = given.inputs.under(f"{case}.")
    names = [str(place) for place in range(len(own["performance"]))]
    rates = drop_rates(
        dict(zip(names, own["performance"], strict=True)),
        base=given.option("q_base"),
        gain=given.option("lam"),
    )
    streams = {name: leaf(own[f"x{name}"]) for name in names}
    share = dropped_share(rates, {name: value.shape[1] for name, value in streams.items()})
    encoded = Encoded(streams=streams, masks={}, batch=Batch(inputs=streams))
    kept = dict(zip(names, own["mask"].bool().unbind(1), strict=True))
    dropped = drop_rows(encoded, kept, share)
    cleaned = {n: zero_masked(dropped.streams[n], dropped.masks[n]) for n in names}
    left = torch.stack([dropped.present(name) for name in names]).any(0)
    found = {"output.q": torch.stack(list(rates.values())), "mid.theta": share, "output.update_flag": left}
    found |= {f"output.cleaned{name}": value for name, value in cleaned.items()}
    for name in names:
        found |= gradients(cleaned[name], own[f"cotangent{name}"], {f"x{name}": streams[name]})
    return found


def _pmr(given: Given) -> dict[str, Tensor]:
    model, alpha = tiny_model(given), given.option("alpha")
    count = len({name.partition(".")[0] for name in given.inputs if name.startswith("batch")})
    batches = [tiny_batch(given, f"batch{number}.") for number in range(count)]
    remedy = PMR(alpha=alpha, momentum=given.option("momentum_coef"), share=1.0)
    remedied = Remedied(model, remedy, classes(len(given.inputs["proto_prev_audio"])))
    for name in _NAMES:
        state = {"mean": given.inputs[f"proto_prev_{name}"], "known": torch.ones(3, dtype=torch.bool)}
        remedy.prototypes[name].load_state_dict(state)
    first = batches[: max(1, count // 10)]
    remedied.start_epoch(Course(epoch=given.option("epoch"), num_steps=count, train=lambda: first))
    loss = remedied.loss(batches[0])
    loss.backward()  # type: ignore[no-untyped-call]
    found = {f"grad.weight.{name}": value for name, value in official_gradients(model).items()}
    return found | _near(remedied, batches[0], alpha) | {"output.loss": loss}


def _near(remedied: Remedied, batch: Batch, alpha: float) -> dict[str, Tensor]:
    """What the loss is made of."""
    encoded = remedied.view.encode(batch)
    found: dict[str, Tensor] = {}
    scores: dict[str, Tensor] = {}
    assert isinstance(remedied.remedy, PMR)
    assert batch.target is not None
    for name in _NAMES:
        prototypes = remedied.remedy.of(name)
        near = prototypes.similarities(encoded.features(name))
        scores[name] = true_class_sum(near, batch.target, encoded.present(name))[0]
        found |= {
            f"output.proto_{name}": prototypes.mean,
            f"mid.sim_{name}": near,
            f"output.score_p_{name}": scores[name],
            f"output.loss_proto_{name}": F.cross_entropy(near, batch.target),
        }
    ratios = score_ratios(scores)
    return found | {
        "output.ratio_a_p": ratios["audio"],
        "output.beta": alpha * (ratios["audio"] < 1),
        "output.lam": alpha * (ratios["visual"] < 1),
    }


def _mla(given: Given) -> dict[str, Tensor]:
    head, steps = load_linear(given.weights.under("")), given.option("steps")
    projection = torch.eye(given.option("d"))
    found: dict[str, Tensor] = {}
    for step in range(steps):
        feature, label = (given.inputs[f"step{step}.{name}"] for name in ("feature", "label"))
        loss = F.cross_entropy(head(feature), label)
        (before,) = torch.autograd.grad(loss, [head.weight])
        original = toolkit = before
        if step > 0:
            decay = 0.1 ** (1 + step / steps)
            projection = next_projection(projection, feature.mean(0), decay=decay, by_entry=True)
            original, toolkit = projected(before, projection), projected(before, projection, add=True)
        found |= {
            f"mid.step{step}.grad_before": before,
            f"output.step{step}.Pl": projection,
            f"output.step{step}.grad_after_original": original,
            f"output.step{step}.grad_after_toolkit": toolkit,
        }
    return found | _gate(given)


def _gate(given: Given) -> dict[str, Tensor]:
    logits = {name: given.inputs[f"gate.logits_{name}"] for name in _NAMES}
    there = torch.ones(len(logits["audio"]), dtype=torch.bool)
    weights = {n: w[:, None] for n, w in gating_weights(logits, dict.fromkeys(_NAMES, there)).items()}
    found = {f"output.gate.weight_{name}": weight for name, weight in weights.items()}
    return found | {"output.gate.fused": torch.stack([weights[n] * logits[n] for n in _NAMES]).sum(0)}


def _reconboost(given: Given) -> dict[str, Tensor]:
    remedied, batch = _boosted(given), tiny_batch(given)
    remedy = remedied.remedy
    assert isinstance(remedy, ReconBoost)
    first, *_, together = remedied.phases
    found = _first_step(remedied, batch, given)
    remedied.loss(batch, first).backward()  # type: ignore[no-untyped-call]
    found |= {f"grad.step1.weight.{name}": value for name, value in _learnt(remedied).items()}
    remedied.zero_grad()
    loss = remedied.loss(batch, together)
    loss.backward()  # type: ignore[no-untyped-call]
    found |= {f"grad.step2.weight.{name}": value for name, value in _learnt(remedied).items()}
    found["mid.step2_out"] = remedied(batch.inputs)
    return found | {"output.step2_loss": loss}


def _boosted(given: Given) -> Remedied:
    """The encoders and the head that they share."""
    encoders = {name: perceptron(given.weights.under(f"modality_encoder.{name}.")) for name in _NAMES}
    head = load_linear(given.weights.under("fusion_module.fc_out."))
    dims = {name: encoder.dims[-1] for name, encoder in encoders.items()}
    remedy = ReconBoost(
        own=given.option("weight1"),
        reconcile=given.option("weight2"),
        consolidate=0,  # officially it has no gradient
        boost_rate=float(given.weights["boost_rate"]),
    )
    model = FusionModel(encoders, Concat(dims, head.out_features), nn.Identity())
    remedied = Remedied(model, remedy, classes(head.out_features))
    remedy.head.load_state_dict(head.state_dict())
    return remedied


def _first_step(remedied: Remedied, batch: Batch, given: Given) -> dict[str, Tensor]:
    """The official loss of each row, with the term that has no gradient."""
    remedy, encoded = remedied.remedy, remedied.view.encode(batch)
    assert isinstance(remedy, ReconBoost)
    assert batch.target is not None
    audio, visual = (remedy.head(encoded.features(name)) for name in _NAMES)
    join = remedy.boost_rate * visual
    errors = F.cross_entropy(audio, batch.target, reduction="none")
    losses = boosting_losses(errors, join, batch.target, own=remedy.own, reconcile=remedy.reconcile)
    apart = disagreement(audio, visual).mean()
    return {
        "mid.out_join": join,
        "mid.out_obj": audio,
        "output.loss_per_sample": losses + given.option("alpha") * apart,
    }


def _learnt(remedied: Remedied) -> dict[str, Tensor]:
    """The gradients that there are, under the toolkit's names."""
    remedy, model = remedied.remedy, remedied.model
    assert isinstance(remedy, ReconBoost)
    assert isinstance(model, FusionModel)
    named = {f"fusion_module.fc_out.{name}": value for name, value in remedy.head.named_parameters()}
    named["boost_rate"] = remedy.boost_rate
    for name, encoder in model.encoders.items():
        for key, value in encoder.named_parameters():
            named[f"modality_encoder.{name}.{key.removeprefix('stages.0.net.')}"] = value
    return {name: value.grad.clone() for name, value in named.items() if value.grad is not None}


def _gblend(given: Given) -> dict[str, Tensor]:
    trials = {branch: _trial(given, branch) for branch in (*_NAMES, "output")}
    weights = blend_weights(trials, absolute=True)
    found = {f"output.weight_{name}": _number(weight) for name, weight in weights.items()}
    # The case stores the last trial under every name; the weights are from a trial each.
    last = trials["output"]
    for name in trials:
        (pre_gap, now_gap) = (last.valid[place] - last.train[place] for place in (0, 1))
        numbers = {
            "pre_train_loss": last.train[0],
            "now_train_loss": last.train[1],
            "pre_validation_loss": last.valid[0],
            "now_validation_loss": last.valid[1],
            "g": last.growth,
            "o_pre": pre_gap,
            "o_now": now_gap,
            "o": last.overfitting,
        }
        found |= {f"mid.{name}.{key}": _number(value) for key, value in numbers.items()}
    return found | _blended_step(given, weights)


def _number(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def _trial(given: Given, branch: str) -> Trial:
    model, task = tiny_model(given), classes(len(given.weights["fusion_module.fc_out.bias"]))
    view = FusionView(model)

    def loss_of(batch: Batch) -> Tensor:
        # A branch is the whole model, in which the inputs of the others are zero.
        inputs = {n: v if branch in (n, "output") else torch.zeros_like(v) for n, v in batch.inputs.items()}
        return Passage(view, replace(batch, inputs=inputs), task).loss

    course = Course(
        epoch=0,
        num_steps=given.option("train_batches"),
        train=partial(_batches, given, "train"),
        valid=partial(_batches, given, "val"),
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=given.option("lr"), momentum=0.9),
    )
    parameters = list(model.parameters())
    return run_trial(loss_of, parameters, model, course, epochs=given.option("super_epoch"), sums=True)


def _batches(given: Given, split: str) -> Iterator[Batch]:
    return (tiny_batch(given, f"{split}{n}.") for n in range(given.option(f"{split}_batches")))


def _blended_step(given: Given, weights: Mapping[str, float]) -> dict[str, Tensor]:
    model, task = tiny_model(given), classes(len(given.weights["fusion_module.fc_out.bias"]))
    seen = Passage(FusionView(model), tiny_batch(given, "train0."), task)
    outputs = {**seen.split(), "output": seen.outputs}
    losses = {name: seen.loss_of(value) for name, value in outputs.items()}
    loss = blended_loss(losses, [torch.tensor(weights[name]) for name in losses])
    loss.backward()  # type: ignore[no-untyped-call]
    found = {f"mid.logits_{name}": value for name, value in outputs.items()}
    found |= {f"grad.weight.{name}": value for name, value in official_gradients(model).items()}
    return found | {"output.train_step_loss": loss}


RUNNERS: Mapping[str, Runner] = {
    "rollingq/gblend": Runner(run=_gblend),
    "rollingq/mla": Runner(run=_mla),
    "rollingq/opm": Runner(run=_opm),
    "rollingq/pmr": Runner(run=_pmr),
    "rollingq/reconboost": Runner(run=_reconboost),
}
