"""Does fusing help where the eye and the ear are both impaired, and does the model survive without either?

Usage: python benchmarks/av_digits.py DATA_FOLDER [--rows 3000] [--seeds 3] [--json FILE] [--quick]

Handwritten digits under noise beside spoken ones under noise. No picture and no recording is in two splits;
with ``--held-out speakers`` no speaker either, of whom there are too few: there sound alone falls short of
0.80 without any noise, and the program says so. The noise is such that each modality alone scores
between 0.80 and 0.90 on the test rows. Then, on the same rows: the fusion must be above both with an interval
above zero, and given one modality only, at most one point below the model that was trained on that modality
alone. It has the encoders of those models, frozen, and is trained with modality dropout. The status is 1
where one of these is not so.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from fuseloom.comparison.evidence import Evidence
from fuseloom.comparison.result import Interval
from fuseloom.comparison.statistics import Statistics
from fuseloom.data import encode, fit_preprocessors, load
from fuseloom.data.av_digits import make_av_digits
from fuseloom.models import FusionModel, ModelConfig, build_model
from fuseloom.tasks.classification import Classification
from fuseloom.train.fit import FitConfig, fit, predict_outputs
from fuseloom.types import Batch

WANTED = (0.80, 0.90)
MOST_LOST = 0.01
MODALITIES = ("image", "audio")
NOISE: Mapping[str, Mapping[str, float]] = {
    "recordings": {"image_noise": 0.58, "audio_snr_db": -1.0},
    "speakers": {"image_noise": 0.58},
}
"""What is held out -> the noise."""
BANDS = 32
SETTINGS: Mapping[str, Mapping[str, Any]] = {"audio": {"mels": BANDS, "seconds": 0.6}}
ENCODERS: Mapping[str, Mapping[str, Any]] = {
    "image": {"kind": "image", "channels": 3, "stride": 2},
    "audio": {"kind": "audio", "num_mels": BANDS, "stride": 2},
}


@dataclass(frozen=True, kw_only=True)
class Digits:
    """Encoded rows, ready for training."""

    splits: Mapping[str, Batch]
    units: NDArray[np.intp]
    """Which test rows are drawn together: one by one ``[N]``."""
    task: Classification


@dataclass(frozen=True, kw_only=True)
class Trained:
    """All runs of one model."""

    outputs: Sequence[NDArray[Any]]
    """Probabilities of the test rows, an array per seed."""
    alone: Mapping[str, Sequence[NDArray[Any]]]
    """The same where only this modality is given."""
    encoders: Sequence[Mapping[str, Mapping[str, torch.Tensor]]]
    """Weights of each encoder, of each seed."""
    epochs: float
    epoch_s: float


@dataclass(frozen=True, kw_only=True)
class Claim:
    """What is claimed, what was measured, and whether it holds."""

    what: str
    found: Interval
    holds: bool


def encoded(folder: Path, rows: int, held_out: Any, *, quick: bool) -> Digits:
    """Pairs with noise, preprocessed by what their training rows say."""
    made = make_av_digits(folder, rows=rows, held_out=held_out, **({} if quick else NOISE[held_out]))
    dataset = load(made)
    assert dataset.split is not None
    assert dataset.target is not None
    places = {name: np.flatnonzero(dataset.split == name) for name in ("train", "valid", "test")}
    inputs, masks = encode(dataset, fit_preprocessors(dataset, places["train"], SETTINGS))
    task = Classification.learn(dataset.target)
    every = Batch(inputs=inputs, masks=masks, target=torch.from_numpy(task.encode(dataset.target)))
    return Digits(
        splits={name: every.take(torch.from_numpy(own)) for name, own in places.items()},
        units=np.arange(len(places["test"])),
        task=task,
    )


def trained(
    digits: Digits, names: Sequence[str], configs: Sequence[FitConfig], alone: Mapping[str, Trained]
) -> Trained:
    """One model from each configuration, and what it says of the test rows.

    Args:
        digits: Rows.
        names: The modalities that are read.
        configs: One for each seed.
        alone: Models of one modality, whose encoders the new ones have, frozen.
    """
    shape = ModelConfig(
        encoders={name: ENCODERS[name] for name in names}, fusion="concat", dim=32, frozen=tuple(alone)
    )
    rows = {split: _only(batch, names) for split, batch in digits.splits.items()}
    runs = []
    for place, config in enumerate(configs):

        def build(place: int = place) -> FusionModel:
            model = build_model(shape, digits.task)
            for name, one in alone.items():
                model.encoders[name].load_state_dict(dict(one.encoders[place][name]))
            return model

        model, run = fit(build, rows["train"], rows["valid"], digits.task, config)
        click.echo(
            f"{', '.join(names)}, seed {config.seed}: {run.epochs} epochs, {run.train_s:.0f} s", err=True
        )
        runs.append((model, run))
    epochs = sum(run.epochs for _, run in runs)
    return Trained(
        outputs=[_probabilities(model, rows["test"]) for model, _ in runs],
        alone={n: [_probabilities(m, _without_others(rows["test"], n)) for m, _ in runs] for n in names},
        encoders=[{name: model.encoders[name].state_dict() for name in names} for model, _ in runs],
        epochs=epochs / len(runs),
        epoch_s=sum(run.train_s for _, run in runs) / epochs,
    )


def _only(rows: Batch, names: Sequence[str]) -> Batch:
    inputs, masks = ({name: of[name] for name in names} for of in (rows.inputs, rows.masks))
    return replace(rows, inputs=inputs, masks=masks)


def _without_others(rows: Batch, name: str) -> Batch:
    """The same rows, every modality but one of them absent."""
    masks = {other: mask if other == name else torch.zeros_like(mask) for other, mask in rows.masks.items()}
    return replace(rows, masks=masks)


def _probabilities(model: torch.nn.Module, rows: Batch) -> NDArray[Any]:
    outputs = torch.from_numpy(predict_outputs(model, rows))
    return outputs.double().softmax(-1).numpy()


def claims(models: Mapping[str, Trained], digits: Digits) -> list[Claim]:
    """What the issue asks for, measured on the test rows."""
    target = digits.splits["test"].target
    assert target is not None
    predictions = {name: [model.outputs] for name, model in models.items()}
    predictions |= {f"fused, {name} only": [models["fused"].alone[name]] for name in MODALITIES}
    evidence = Evidence(predictions=predictions, targets=[target.numpy()], units=[digits.units])
    found = Statistics(evidence, digits.task.metrics["accuracy"])
    return list(_judged(found))


def _judged(found: Statistics) -> Iterator[Claim]:
    yield Claim(what="fused: accuracy", found=found.score("fused"), holds=True)
    for name in MODALITIES:
        alone = found.score(name)
        yield Claim(
            what=f"{name} alone: in {WANTED}", found=alone, holds=WANTED[0] <= alone.mean <= WANTED[1]
        )
        gain = found.difference("fused", name).interval()
        yield Claim(what=f"fused - {name} alone: above 0", found=gain, holds=(gain.low or 0.0) > 0)
    for name in MODALITIES:
        lost = found.difference(f"fused, {name} only", name).interval()
        what = f"fused with {name} only - {name} alone: at least -{MOST_LOST}"
        yield Claim(what=what, found=lost, holds=lost.mean >= -MOST_LOST)


def shown(found: Sequence[Claim], models: Mapping[str, Trained]) -> str:
    """The table."""
    lines = [f"{'on the test rows':58} {'mean':>7} {'95 % interval':>18}"]
    for claim in found:
        limits = "n/a" if claim.found.low is None else f"{claim.found.low:.3f} to {claim.found.high:.3f}"
        verdict = "" if claim.holds else "  NOT SO"
        lines.append(f"{claim.what:58} {claim.found.mean:>7.3f} {limits:>18}{verdict}")
    for name, model in models.items():
        lines.append(f"{name}: {model.epochs:.0f} epochs of {model.epoch_s:.2f} s")
    return "\n".join(lines)


@click.command()
@click.argument("folder", type=click.Path(exists=True, path_type=Path))
@click.option("--rows", default=3000, show_default=True)
@click.option("--seeds", default=3, show_default=True)
@click.option("--held-out", type=click.Choice(sorted(NOISE)), default="recordings", show_default=True)
@click.option("--modality-dropout", default=0.5, show_default=True, help="In the training of the fusion.")
@click.option("--max-epochs", default=40, show_default=True)
@click.option("--quick", is_flag=True, help="One epoch of clean rows, to see that it runs.")
@click.option("--json", "json_path", type=click.Path(path_type=Path))
def main(folder: Path, *, quick: bool, json_path: Path | None, **options: Any) -> None:
    """Measure on the digits in FOLDER what fusing gains, and what a missing modality costs."""
    if quick:
        options |= {"seeds": 1, "max_epochs": 1}
    digits = encoded(folder, options["rows"], options["held_out"], quick=quick)
    common = {"lr": 4e-3, "batch_size": 32, "max_epochs": options["max_epochs"], "patience": 8}
    configs = [FitConfig(seed=seed, **common) for seed in range(options["seeds"])]
    dropped = [replace(config, modality_dropout=options["modality_dropout"]) for config in configs]
    models = {name: trained(digits, (name,), configs, {}) for name in MODALITIES}
    models["fused"] = trained(digits, MODALITIES, dropped, models)
    found = claims(models, digits)
    print(shown(found, models))
    if json_path is not None:
        measured = {
            "settings": {**options, "noise": dict(NOISE[options["held_out"]]), "quick": quick},
            "claims": [asdict(claim) for claim in found],
            "epochs": {name: [model.epochs, model.epoch_s] for name, model in models.items()},
        }
        json_path.write_text(json.dumps(measured, indent=1) + "\n", "utf-8")
    sys.exit(not all(claim.holds for claim in found))


if __name__ == "__main__":
    main()
