"""Runners of how dense networks are trained: learning rates, and steps with the groups of parameters."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.models.dense.geminifusion import (
    convert_geminifusion_mit,
    geminifusion_mit,
    official_geminifusion_mit,
)
from fuseloom.models.dense.inference import enlarged
from fuseloom.models.dense.mit import MitSize
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, Stated
from fuseloom.testing.goldens._network import NAMES
from fuseloom.train.fit import FitConfig, make_optimizer, make_schedule
from fuseloom.train.flat import flat_parameters

__all__ = ["RUNNERS"]

_IGNORED = 255
_DELIVER_RATE, _HEAD = 2e-4, {"1": 10.0}
"""Of the second of two groups, which is the head."""
_SEGMENTER = FitConfig(rates={"head": 10.0}, no_decay={"encoder": "norms"}, clip_norm=0.0)
_COUNT = "decoder.linear_fuse.bn.num_batches_tracked"


def _rates(config: FitConfig, *, num_rows: int, steps: int) -> Tensor:
    """The learning rate of each step and group, ``[T, G]``, of a model of as many parts as there are."""
    model = nn.Sequential(*[nn.Linear(1, 1) for _ in range(1 + len(config.rates))])
    found = []
    with flat_parameters(model, config.rates) as parameters:
        optimizer = make_optimizer(parameters, config)
        schedule = make_schedule(optimizer, config, num_rows)
        for _ in range(steps):
            found.append([group["lr"] for group in optimizer.param_groups])
            optimizer.step()
            schedule.step()
    return torch.tensor(found, dtype=torch.float64)


def _from_start(options: Mapping[str, float], lr: float) -> FitConfig:
    """The schedule of TokenFusion and GeminiFusion on NYUDv2, an epoch being a step."""
    steps = int(options["max_iter"])
    return FitConfig(
        lr=lr,
        schedule="poly",
        power=options["power"],
        fall_from="start",
        warmup=options["warmup_iter"] / steps,
        warmup_from=options["warmup_ratio"],
        max_epochs=steps,
    )


def _schedules(given: Given) -> dict[str, Tensor]:
    deliver, nyu = given.option("deliver"), given.option("nyu")
    epochs, rows = deliver["epochs"], deliver["iters_per_epoch"]
    from_peak = FitConfig(
        lr=_DELIVER_RATE,
        rates=_HEAD,
        schedule="poly",
        power=deliver["power"],
        warmup=deliver["warmup_epochs"] / (epochs + 1),
        warmup_from=deliver["ratio"],
        max_epochs=epochs,
        planned_epochs=epochs + 1,
        batch_size=1,
    )
    return {
        "output.warmup_poly_lr": _rates(from_peak, num_rows=rows, steps=epochs * rows),
        "output.polywarmup_adamw_lr": _rates(
            _from_start(nyu, nyu["lr"]), num_rows=1, steps=given.option("steps")
        )[:, 0],
    }


def _steps_stated(case: GoldenCase) -> Stated:
    """How many steps are stored, which the configuration does not say."""
    return Stated(given={"steps": len(case.expected["output.polywarmup_adamw_lr"])})


def _schedule(given: Given) -> dict[str, Tensor]:
    first, second = given.option("base_lrs")
    config = replace(_from_start(given.config, first), rates={"1": second / first})
    return {"output.lr_used.f64": _rates(config, num_rows=1, steps=given.option("steps"))}


def _steps_used(case: GoldenCase) -> Stated:
    return Stated(given={"steps": len(case.expected["output.lr_used.f64"])})


def _steps(given: Given) -> dict[str, Tensor]:
    weights = given.weights.under("")
    model = _segmenter(given)
    model.load_state_dict(convert_geminifusion_mit(weights, NAMES))
    config = replace(
        _from_start(given.config, given.option("lr")),
        rates=_SEGMENTER.rates,
        no_decay=_SEGMENTER.no_decay,
        weight_decay=given.option("wd"),
    )
    losses = []
    with flat_parameters(model.train(), config.rates, config.no_decay) as parameters:
        optimizer = make_optimizer(parameters, config)
        schedule = make_schedule(optimizer, config, num_rows=1)
        for step in range(3):
            found = _losses(model, given, f"step{step}.")
            optimizer.zero_grad(set_to_none=False)
            found.sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            losses.append(found.detach().sum())
    # A norm that keeps its statistics counts nothing.
    after = official_geminifusion_mit(model.state_dict(), NAMES) | {_COUNT: weights[_COUNT]}
    kept = {f"output.after.{name}": after[name] for name in given.option("wanted")}
    return kept | {"output.losses": torch.stack(losses)}


def _segmenter(given: Given) -> nn.Module:
    dims, depths, heads, reductions = (
        tuple(given.option(name)) for name in ("embed_dims", "depths", "num_heads", "sr_ratios")
    )
    return geminifusion_mit(
        {name: given.inputs[f"step0.{name}"].shape[1] for name in NAMES},
        given.option("num_classes"),
        size=MitSize(dims=dims, depths=depths, num_heads=heads, reductions=reductions),
        num_heads=given.option("cross_heads"),
        head_dim=given.option("decoder_embedding_dim"),
        weighting="frozen",
        drop_path=0.0,
        dropout=0.0,
        fixed_statistics=True,
        faithful=True,
    )


def _losses(model: nn.Module, given: Given, step: str) -> Tensor:
    outputs = model({name: given.inputs[step + name] for name in NAMES})
    target = given.inputs[f"{step}label"].long()
    whole = enlarged(outputs, target.shape[-2:])
    losses = [F.cross_entropy(own, target, ignore_index=_IGNORED) for own in whole.unbind(1)]
    return torch.stack(losses)


def _wanted(case: GoldenCase) -> Stated:
    """The few weights that are stored."""
    after = "output.after."
    return Stated(
        given={"wanted": sorted(n.removeprefix(after) for n in case.expected if n.startswith(after))}
    )


def _queries_and_values(case: GoldenCase, name: str, tensor: Tensor) -> Tensor:
    """Without the bias of the keys: its gradient is zero, so that Adam makes a step of what rounding left."""
    queries, _, values = tensor.chunk(3)
    return torch.cat([queries, values])


RUNNERS: Mapping[str, Runner] = {
    "geminifusion/lr_schedules": Runner(run=_schedules, states=_steps_stated),
    "geminifusion/wetr_train": Runner(
        run=_steps, states=_wanted, invariants={"*.in_proj_bias": _queries_and_values}
    ),
    "tokenfusion/poly_warmup_schedule": Runner(run=_schedule, states=_steps_used),
}
