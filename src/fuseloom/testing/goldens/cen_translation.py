"""Runners of CEN's translation: a block of the encoder, generator, discriminator, and their losses."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from fuseloom.exchange.channel_exchange import ChannelExchange
from fuseloom.losses.adversarial import adversarial_loss, judgement_loss, likeness_loss
from fuseloom.models.dense.cen_translation import (
    PatchDiscriminator,
    UNetStreams,
    cen_translation,
    convert_cen_discriminator,
    convert_cen_translation,
)
from fuseloom.testing.goldens._case import Given, GoldenCase, Runner, gradients, leaf
from fuseloom.testing.goldens._network import (
    NAMES,
    called,
    of_sum,
    parameters,
    streams_of,
    training,
    under,
    weights_of,
)
from fuseloom.types import Streams

__all__ = ["RUNNERS"]

_REPEATED, _STRIDE = 8, 4
_OF_LAYER = ("convs.1.", "norms.0.", "exchanges.0.")


class _Layer(nn.Module):
    """The second convolution of an encoder, with its norm and exchange."""

    def __init__(self, encoder: UNetStreams) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, streams: Streams) -> Streams:
        return self.encoder.run_layer(1, streams, {}, None)


def _block(given: Given) -> dict[str, Tensor]:
    streams, weights = streams_of(given), weights_of(given)
    into, out = given.option("cin"), given.option("cout")
    encoder = UNetStreams(
        dict.fromkeys(NAMES, into), dim=out // 2, depth=3, exchange=_exchange(given), tracked=True
    )
    encoder.convs[1] = nn.Conv2d(into, out, 4, stride=2, padding=1)
    official = {f"conv2.{name}": value for name, value in weights.items()}
    official |= {f"conv{k}.conv.module.bias": torch.zeros(1) for k in (1, 3)}  # so that it is one of three
    state = under(convert_cen_translation(official, NAMES, tracked=True), "encoder.")
    kept = {name: value for name, value in state.items() if ".1." in name or "s.0." in name}
    part = _Layer(encoder).train(training(given))
    full = {
        **part.state_dict(),
        **{f"encoder.{name}": v for name, v in kept.items() if "convs.0" not in name},
    }
    changed = called(part, full, (streams,))
    found = {f"output.y{i}": changed[name] for i, name in enumerate(NAMES)}
    terms = [(changed[name] * given.inputs[f"cotangent{i}"]).sum() for i, name in enumerate(NAMES)]
    if training(given) and "in_momentum" in given.config:
        for i, name in enumerate(NAMES):
            for what in ("running_mean", "running_var"):
                found[f"output.insnorm_{i}.{what}"] = full[f"encoder.norms.0.{name}.{what}"]
    return found | of_sum(terms, streams | parameters(weights))


def _generator(given: Given) -> dict[str, Tensor]:
    small = {name: leaf(given.inputs[f"{name}_small"]) for name in NAMES}
    streams = {name: _enlarged(value) for name, value in small.items()}
    weights = weights_of(given)
    model = cen_translation(
        {name: value.shape[1] for name, value in small.items()},
        given.option("output_dim"),
        dim=given.option("num_filter"),
        exchange=_exchange(given),
        dropout=0.0,
        tracked=True,
    )
    state = convert_cen_translation(weights, NAMES, tracked=True)
    outputs = called(model.train(training(given)), state, (streams,))
    found = {"output.alpha_soft": weights["alpha"].softmax(0)}
    terms = []
    for i, name in enumerate(("y0", "y1", "ens")):
        whole = outputs[:, i]
        few = whole[:, :, ::_STRIDE, ::_STRIDE]
        found |= {
            f"output.{name}_sub": few,
            f"output.{name}_mean": whole.mean((2, 3)),
            f"output.{name}_sqmean": whole.square().mean((2, 3)),
        }
        terms.append((few * given.inputs[f"cotangent_{name}"]).sum())
    sources = {f"{name}_small": value for name, value in small.items()}
    unread = ("conv1.insnorm", "conv8.insnorm", "deconv8.insnorm")
    read = {n: v for n, v in parameters(weights).items() if not n.removeprefix("weight.").startswith(unread)}
    return found | of_sum(terms, sources | read)


def _discriminator(given: Given) -> dict[str, Tensor]:
    inputs = {name: given.inputs[name] for name in NAMES}
    shown = {name: leaf(given.inputs[name]) for name in given.inputs if name.startswith("label")}
    if len(shown) == 1:
        pictures = dict.fromkeys(NAMES, shown["label0"])
    else:
        pictures = {name: shown[f"label{i}"] for i, name in enumerate(NAMES)}
    model = PatchDiscriminator(dim=given.option("num_filter"), tracked=True)
    state = convert_cen_discriminator(weights_of(given), tracked=True)
    logits = called(model.train(training(given)), state, (inputs, pictures))
    told = {f"output.p{i}": logits[name].sigmoid() for i, name in enumerate(NAMES)}
    terms = [(told[f"output.p{i}"] * given.inputs[f"cotangent{i}"]).sum() for i in range(2)]
    # The official code drops that of the ensemble.
    return told | of_sum(terms, {name: value for name, value in shown.items() if name != "label2"})


def _losses(given: Given) -> dict[str, Tensor]:
    inputs = {name: given.inputs[name] for name in NAMES}
    weights = weights_of(given)
    width = len(weights["conv1.conv.module.bias"])
    model = PatchDiscriminator(dim=width, tracked=True).train()
    model.load_state_dict(convert_cen_discriminator(weights, tracked=True))
    made = [leaf(given.inputs[f"fake{i}"]) for i in range(3)]
    target = given.inputs["target"]
    real = model(inputs, dict.fromkeys(NAMES, target))
    judged = model(inputs, dict(zip(NAMES, made, strict=False)))
    slim = torch.stack([given.inputs[f"slim{i}"].abs().sum() for i in range(4)]).sum()
    parts = {
        "output.G_adv": adversarial_loss(judged),
        "output.G_l1": given.option("gama") * likeness_loss(torch.stack(made, 1), target),
        "output.G_slim": given.option("lamda") * slim,  # codespell:ignore lamda
    }
    loss = torch.stack([*parts.values()]).sum()
    found = {"output.D_loss": judgement_loss(real, judged), "output.G_loss": loss}
    sources = {f"fake{i}": value for i, value in enumerate(made)}
    return found | parts | gradients(loss, torch.ones_like(loss), sources)


def _exchange(given: Given) -> partial[ChannelExchange]:
    threshold = given.option("insnorm_threshold")
    return partial(ChannelExchange, norm=None, threshold=threshold, faithful=True)


def _enlarged(values: Tensor) -> Tensor:
    return values.repeat_interleave(_REPEATED, 2).repeat_interleave(_REPEATED, 3)


def _unread(case: GoldenCase) -> tuple[str, ...]:
    """Norms that the official networks have and do not use, and what norms of a picture's own make vain."""
    trained = str(case.mode).startswith(("train", "D in train"))
    last = 8 if "generator" in case.kind else 5
    unused = (f"{name}.insnorm*" for name in ("conv1", f"conv{last}", "deconv8"))
    shifts = (f"conv[2-{last - 1}].conv.module.bias", "deconv[1-7].deconv.module.bias")
    return (*unused, *(("*running_*", *shifts) if trained else ()))


def _block_unread(case: GoldenCase) -> tuple[str, ...]:
    return ("*running_*",) if str(case.mode).startswith("train") else ()


RUNNERS: Mapping[str, Runner] = {
    "cen/i2i_convblock": Runner(run=_block, idle=_block_unread),
    "cen/i2i_discriminator": Runner(run=_discriminator, idle=_unread),
    "cen/i2i_gan_losses": Runner(run=_losses, idle=_unread),
    "cen/i2i_generator": Runner(run=_generator, idle=_unread),
}
