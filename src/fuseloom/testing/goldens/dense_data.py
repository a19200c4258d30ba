"""Runners of how published dense systems prepare pictures, maps and labels of a scene."""

import random
from collections.abc import Mapping, Sequence
from functools import partial

import torch
from torch import Tensor

from fuseloom.data.label_maps import LabelFormat, read_labels
from fuseloom.data.maps import MapFormat, read_map
from fuseloom.data.published_views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    blurred,
    centred,
    enlarged_to_multiple,
    jittered,
    resized,
    scaled_size,
    standardised_bytes,
)
from fuseloom.data.taskonomy_domains import decode_domain
from fuseloom.testing.goldens._case import Given, Runner
from fuseloom.train.published_augmentation import GeminiFusionScene, SceneDraw

__all__ = ["RUNNERS"]

_ANTIALIAS = {"aa": True, "noaa": False}
_DELIVER = LabelFormat(names=tuple(map(str, range(25))), numbers=tuple(range(1, 26)), ignored=(0, 255))
_NYU, _DEPTH = LabelFormat(names=tuple(map(str, range(40)))), MapFormat(scale=1 / 5000)
_SCALE = (0.5, 2.0)
_as_colours = partial(standardised_bytes, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def _main(given: Given) -> dict[str, Tensor]:
    colours, depth = (given.inputs[name].permute(2, 0, 1).float() for name in ("rgb_u8", "depth_u8x3"))
    labels, size = given.inputs["mask"][None], given.option("size")
    found: dict[str, Tensor] = {}
    drawn = _drawn(given, labels.shape[-2:])
    for name, antialias in _ANTIALIAS.items():
        whole = [enlarged_to_multiple(own, min(size), antialias=antialias) for own in (colours, depth)]
        found |= _views(f"val_{name}", [*whole, enlarged_to_multiple(labels, min(size), labels=True)])
        change = GeminiFusionScene(size, antialias=antialias)
        # What is added to the labels is zero, which does not count once one is taken off again.
        *parts, shifted = change.apply([colours, depth, labels + 1], [True, True, False], drawn)
        found |= _views(f"flip_crop_{name}", [*parts, shifted - 1])
    factors = given.option("jitter")
    return found | {
        "output.blur.rgb": blurred(colours),
        "output.jitter_float_bug.rgb": jittered(colours, largest=1.0, **factors),
        "output.jitter_uint8_right.rgb": jittered(colours.to(torch.uint8), **factors),
    }


def _drawn(given: Given, size: Sequence[int]) -> SceneDraw:
    """As the authors draw: a number for the flip, the ratio, and the corner."""
    draw = random.Random(given.option("seed") + 1)  # the standard library's, as theirs
    draw.random()
    ratio, target = draw.uniform(*_SCALE), given.option("size")
    spare = [max(have - want, 0) for have, want in zip(scaled_size(size, target, ratio), target, strict=True)]
    corner = draw.randint(0, spare[0] + 1), draw.randint(0, spare[1] + 1)
    return SceneDraw(flip=True, ratio=ratio, corner=corner)


def _views(name: str, parts: Sequence[Tensor]) -> dict[str, Tensor]:
    colours, depth, labels = parts
    return {
        f"output.{name}.rgb": _as_colours(colours),
        f"output.{name}.depth": standardised_bytes(depth),
        f"output.{name}.mask": labels[0].long(),
    }


def _deliver(given: Given) -> dict[str, Tensor]:
    size, shortest = (given.option("H"), given.option("W")), min(given.option("size"))
    views = {name: given.inputs[name] for name in ("img", "depth", "lidar")}
    views["event"] = resized(given.inputs["event_lowres"], size, labels=True)
    raw = given.inputs["raw_label"][0].numpy()
    labels = torch.from_numpy(read_labels(raw, _DELIVER))[None]
    found = {}
    for kind, antialias in _ANTIALIAS.items():
        for name, value in views.items():
            whole = enlarged_to_multiple(value, shortest, antialias=antialias)
            shown = _as_colours(whole) if name == "img" else standardised_bytes(whole)
            found[f"output.val_{kind}.{name}"] = shown
        found[f"output.val_{kind}.mask"] = enlarged_to_multiple(labels, shortest, labels=True)
    return found


def _nyu(given: Given) -> dict[str, Tensor]:
    labels = torch.from_numpy(read_labels(given.inputs["mask"].numpy(), _NYU))
    values, _ = read_map(given.inputs["depth"].numpy(), _DEPTH)
    depth = centred(torch.from_numpy(values), labels.shape)
    return {
        "output.rgb": _as_colours(given.inputs["rgb"].permute(2, 0, 1)),
        "output.depth": depth.repeat(3, 1, 1),
        "output.mask": labels.long(),
    }


def _taskonomy(given: Given) -> dict[str, Tensor]:
    return {
        f"output.{domain}": torch.from_numpy(decode_domain(given.inputs[domain].numpy(), domain))
        for domain in given.inputs
    }


RUNNERS: Mapping[str, Runner] = {
    "cen/taskonomy_decode": Runner(run=_taskonomy),
    "geminifusion/augment_deliver": Runner(run=_deliver),
    "geminifusion/augment_main": Runner(run=_main),
    "tokenfusion/seg_preprocess_val": Runner(run=_nyu),
}
