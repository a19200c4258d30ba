"""Does fusing help where the eye and the ear are both impaired, and does the model survive without either?

Usage: python benchmarks/av_digits.py DATA_FOLDER [--held-out speakers] [--json FILE] [--quick]

Handwritten digits under noise beside spoken ones. No picture and no recording is in two splits; where
speakers are held out, no speaker either: each of the six is tested once, by models that never heard him, and
the intervals are over speakers. The noise is such that each modality alone scores between 0.80 and 0.90 on
the test rows. Then, on the same rows: the fusion must be above both with an interval above zero, and given
one modality only, at most one point below the model that was trained on that modality alone, with an interval
above minus one point. It reads the streams of those models, whose encoders stay as they are, and is trained
with modality dropout. The status is 1 where one of these is not so, or these rows cannot tell.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np
import torch
from av_rows import BANDS, PLANS, Deal, Plan, deals
from numpy.typing import NDArray

from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.result import Interval
from fuseloom.comparison.statistics import Statistics
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, fit, predict_outputs
from fuseloom.types import Batch

WANTED = (0.80, 0.90)
MOST_LOST = 0.01
MODALITIES = ("image", "audio")
DIM = 32
ENCODERS: Mapping[str, Mapping[str, Any]] = {
    "image": {"kind": "image", "channels": 3, "stride": 2},
    "audio": {"kind": "audio", "num_mels": BANDS, "stride": 2},
}
STREAM: Mapping[str, Any] = {"kind": "identity", "in_dim": DIM}
ALONE = FitConfig(lr=4e-3, batch_size=64, patience=8)
FUSED = FitConfig(lr=4e-3, batch_size=64, max_epochs=60, patience=15)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """All runs of one model on one deal."""

    models: Sequence[FusionModel]
    """One for each seed."""
    outputs: Sequence[NDArray[Any]]
    """Probabilities of the test rows, an array per seed."""
    alone: Mapping[str, Sequence[NDArray[Any]]]
    """The same where only this modality is given."""
    epochs: float
    epoch_s: float


Verdict = Literal["so", "not so", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is claimed, what was measured, and whether it holds."""

    what: str
    found: Interval
    verdict: Verdict


def trained_alone(deal: Deal, name: str, configs: Sequence[FitConfig]) -> Trained:
    """Models of one modality, one from each configuration."""
    rows = {split: _only(batch, [name]) for split, batch in deal.splits.items()}
    return _trained([rows] * len(configs), {name: ENCODERS[name]}, deal.task, configs)


def trained_fused(deal: Deal, alone: Mapping[str, Trained], configs: Sequence[FitConfig]) -> Trained:
    """Models of all modalities, each on the streams of the models of one modality that have its seed."""
    rows = []
    for place in range(len(configs)):
        models = {name: one.models[place] for name, one in alone.items()}
        rows.append({split: _streams(batch, models) for split, batch in deal.splits.items()})
    return _trained(rows, dict.fromkeys(alone, STREAM), deal.task, configs)


def _trained(
    rows: Sequence[Mapping[str, Batch]],
    encoders: Mapping[str, Mapping[str, Any]],
    task: Classification,
    configs: Sequence[FitConfig],
) -> Trained:
    """One model from each configuration, on its own rows of each split."""
    shape = ModelConfig(encoders=dict(encoders), fusion="concat", dim=DIM)
    runs = []
    for own, config in zip(rows, configs, strict=True):
        model, run = fit(lambda: build_model(shape, task), own["train"], own["valid"], task, config)
        click.echo(
            f"{', '.join(encoders)}, seed {config.seed}: {run.epochs} epochs, {run.train_s:.0f} s", err=True
        )
        assert isinstance(model, FusionModel)
        runs.append((model, run, own["test"]))
    epochs = sum(run.epochs for _, run, _ in runs)
    return Trained(
        models=[model for model, _, _ in runs],
        outputs=[_probabilities(model, test) for model, _, test in runs],
        alone={n: [_probabilities(m, _without_others(test, n)) for m, _, test in runs] for n in encoders},
        epochs=epochs / len(runs),
        epoch_s=sum(run.train_s for _, run, _ in runs) / epochs,
    )


def _only(rows: Batch, names: Sequence[str]) -> Batch:
    inputs, masks = ({name: of[name] for name in names} for of in (rows.inputs, rows.masks))
    return replace(rows, inputs=inputs, masks=masks)


def _without_others(rows: Batch, name: str) -> Batch:
    """The same rows, every modality but one of them absent."""
    masks = {other: mask if other == name else torch.zeros_like(mask) for other, mask in rows.masks.items()}
    return replace(rows, masks=masks)


def _streams(rows: Batch, models: Mapping[str, FusionModel]) -> Batch:
    """What each model makes of its modality: its encoders stay as they are, so once is enough."""
    inputs, masks = {}, {}
    with torch.no_grad():
        for model in models.values():
            streams, kept = model.eval().encode(rows.inputs, rows.masks)
            inputs |= streams
            masks |= kept
    return replace(rows, inputs=inputs, masks=masks)


def _probabilities(model: torch.nn.Module, rows: Batch) -> NDArray[Any]:
    outputs = torch.from_numpy(predict_outputs(model, rows))
    return outputs.double().softmax(-1).numpy()


def evidence(models: Mapping[str, Sequence[Trained]], dealt: Sequence[Deal]) -> Evidence:
    """Outputs of every model on the test rows of all deals together, each seed as a fold of its own.

    The models of a seed share their encoders, so that they are compared seed by seed, as those of a fold are.

    Args:
        models: Name -> its runs on each deal.
        dealt: The rows.
    """
    target = np.concatenate([_target(deal) for deal in dealt])
    units = np.unique(np.concatenate([deal.units for deal in dealt]), return_inverse=True)[1]
    seeds = len(models["fused"][0].outputs)
    return Evidence(
        predictions={
            name: [[np.concatenate(run)] for run in zip(*each, strict=True)]
            for name, each in _outputs(models).items()
        },
        targets=[target] * seeds,
        units=[units.astype(np.intp)] * seeds,
    )


def _outputs(models: Mapping[str, Sequence[Trained]]) -> dict[str, list[Sequence[NDArray[Any]]]]:
    """Of every model, and of the fused ones given one modality: for each deal an array per seed."""
    outputs = {name: [one.outputs for one in each] for name, each in models.items()}
    alone = {f"fused, {name} only": [one.alone[name] for one in models["fused"]] for name in MODALITIES}
    return outputs | alone


def _target(deal: Deal) -> NDArray[Any]:
    target = deal.splits["test"].target
    assert target is not None
    return target.numpy()


def claims(found: Statistics) -> Iterator[Claim]:
    """What must be so, judged by what was measured on the test rows."""
    for name in MODALITIES:
        alone = found.score(name)
        within: Verdict = "so" if WANTED[0] <= alone.mean <= WANTED[1] else "not so"
        yield Claim(what=f"{name} alone: in {WANTED}", found=alone, verdict=within)
        gain = found.difference("fused", name).interval()
        yield Claim(what=f"fused - {name} alone: above 0", found=gain, verdict=_above(gain, 0.0))
    for name in MODALITIES:
        lost = found.difference(f"fused, {name} only", name).interval()
        what = f"fused with {name} only - {name} alone: above -{MOST_LOST}"
        yield Claim(what=what, found=lost, verdict=_above(lost, -MOST_LOST))


def _above(found: Interval, bound: float) -> Verdict:
    if found.low is None or found.high is None or found.low <= bound <= found.high:
        return "cannot tell"
    return "so" if found.low > bound else "not so"


def shown(
    found: Statistics,
    judged: Sequence[Claim],
    models: Mapping[str, Sequence[Trained]],
    dealt: Sequence[Deal],
) -> str:
    """The tables."""
    heads = [_head(deal, seed) for deal in dealt for seed in range(len(models["fused"][0].outputs))]
    lines = [f"{'test accuracy of each run':26}  {'  '.join(f'{head:>9}' for head in heads)}"]
    for name, scores in by_run(models, dealt).items():
        lines.append(f"{name:26}  {'  '.join(f'{score:>9.3f}' for score in scores)}")
    lines += ["", f"{f'over {found.num_rows:,} test rows':58} {'mean':>7} {'95 % interval':>18}"]
    fused = Claim(what="fused: accuracy", found=found.score("fused"), verdict="so")
    for claim in (fused, *judged):
        limits = "n/a" if claim.found.low is None else f"{claim.found.low:.3f} to {claim.found.high:.3f}"
        verdict = "" if claim.verdict == "so" else f"  {claim.verdict.upper()}"
        lines.append(f"{claim.what:58} {claim.found.mean:>7.3f} {limits:>18}{verdict}")
    for name, each in models.items():
        epochs, seconds = np.mean([(one.epochs, one.epoch_s) for one in each], axis=0)
        lines.append(f"{name}: {epochs:.0f} epochs of {seconds:.2f} s")
    return "\n".join(lines)


def _head(deal: Deal, seed: int) -> str:
    """The speaker who is tested, where it is one, and the seed."""
    speakers = set(deal.units.tolist())
    return f"{speakers.pop()}" if len(speakers) == 1 and seed == 0 else f"seed {seed}"


def by_run(models: Mapping[str, Sequence[Trained]], dealt: Sequence[Deal]) -> dict[str, list[float]]:
    """Test accuracy of every model: deal by deal, then seed by seed."""
    return {
        name: [
            float((output.argmax(-1) == _target(deal)).mean())
            for deal, outputs in zip(dealt, each, strict=True)
            for output in outputs
        ]
        for name, each in _outputs(models).items()
    }


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--held-out", "names", multiple=True, type=click.Choice(sorted(PLANS)), help="Default: both.")
@click.option("--modality-dropout", default=0.5, show_default=True, help="In the training of the fusion.")
@click.option("--quick", is_flag=True, help="One epoch of a few clean rows, to see that it runs.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(
    folder: Path, names: Sequence[str], modality_dropout: float, *, quick: bool, json_path: Path | None
) -> None:
    """Measure on the digits in FOLDER what fusing gains, and what a missing modality costs."""
    measured: dict[str, Any] = {}
    for name in names or PLANS:
        plan = PLANS[name]
        if quick:
            plan = replace(plan, rows=60, noise={}, epochs=1, seeds=1)
        measured[name] = {"plan": asdict(plan), **_measured(folder, plan, modality_dropout)}
        if json_path is not None:  # after each, as both take long
            found = {"modality_dropout": modality_dropout, "held_out": measured}
            json_path.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    sys.exit(any(claim["verdict"] != "so" for one in measured.values() for claim in one["claims"]))


def _measured(folder: Path, plan: Plan, modality_dropout: float) -> dict[str, Any]:
    """Train and judge; prints the tables."""
    dealt = list(deals(folder, plan))
    models: dict[str, list[Trained]] = {name: [] for name in (*MODALITIES, "fused")}
    for deal in dealt:
        for name, one in _models(deal, plan, modality_dropout).items():
            models[name].append(one)
    found = Statistics(evidence(models, dealt), Classification.metrics["accuracy"], resamples=2000)
    judged = list(claims(found))
    print(f"Held out: {plan.held_out}\n{shown(found, judged, models, dealt)}\n", flush=True)
    return {"runs": by_run(models, dealt), "claims": [asdict(claim) for claim in judged]}


def _models(deal: Deal, plan: Plan, modality_dropout: float) -> dict[str, Trained]:
    configs = [replace(ALONE, seed=seed, max_epochs=plan.epochs) for seed in range(plan.seeds)]
    dropped = [replace(FUSED, seed=seed, modality_dropout=modality_dropout) for seed in range(plan.seeds)]
    alone = {name: trained_alone(deal, name, configs) for name in MODALITIES}
    return {**alone, "fused": trained_fused(deal, alone, dropped)}


if __name__ == "__main__":
    main()
