"""Runner of MuSE's captioning decoder."""

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.func import functional_call

from fuseloom.losses.captions import caption_loss, doubly_stochastic_loss
from fuseloom.models.muse.captioner import Captioner, convert_captioner
from fuseloom.testing.goldens._case import Given, Runner, leaf

__all__ = ["RUNNERS"]


def _captioner(given: Given) -> dict[str, Tensor]:
    image, weights = leaf(given.inputs["encoder_out"]), _leaves(given)
    tokens, model = image.flatten(1, 2), _model(given)
    lengths = given.inputs["lengths"].flatten()
    # The official outputs come in order of length, and end with the longest caption.
    order = lengths.sort(descending=True, stable=True).indices
    captions = given.inputs["captions"][:, : int(lengths.max())]
    mask = torch.arange(captions.shape[1]) < lengths[:, None]
    state = convert_captioner(weights)
    model.load_state_dict(state, assign=True)
    logits, attention = functional_call(model, state, (tokens, captions, mask), strict=True)
    entropy, spread = caption_loss(logits, captions, mask), doubly_stochastic_loss(attention, mask)
    loss = entropy + given.option("alpha_c") * spread
    mean = tokens.mean(1)[order]
    outputs = {
        "output.predictions": logits[order],
        "output.alphas": attention[order],
        "output.sort_ind": order,
        "output.decode_lengths": lengths[order] - 1,
        "output.sorted_captions": given.inputs["captions"][order],
        "output.loss": loss.reshape(1),
        "mid.cross_entropy": entropy.reshape(1),
        "mid.doubly_stochastic": spread.reshape(1),
        "mid.h0": model.first_hidden(mean),
        "mid.c0": model.first_cell(mean),
    }
    return outputs | _gradients(given, outputs, image, weights)


def _leaves(given: Given) -> dict[str, Tensor]:
    return {name: leaf(value) for name, value in given.weights.under("").items()}


def _model(given: Given) -> Captioner:
    with torch.device("meta"):
        model = Captioner(
            given.option("encoder_dim"),
            given.option("vocab_size"),
            attention_dim=given.option("attention_dim"),
            embedding_dim=given.option("embed_dim"),
            hidden_dim=given.option("decoder_dim"),
        )
    return model.eval()


def _gradients(
    given: Given, outputs: Mapping[str, Tensor], image: Tensor, weights: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    pairs = {"predictions": outputs["output.predictions"], "alphas": outputs["output.alphas"]}
    cotangents = [given.inputs[f"cotangent_{name}"] for name in pairs]
    (of_outputs,) = torch.autograd.grad(list(pairs.values()), image, cotangents, retain_graph=True)
    sources = {"encoder_out": image} | {f"weight.{name}": value for name, value in weights.items()}
    # The bias of the scores is in no output, as a softmax cannot see it: its gradient is zero.
    found = torch.autograd.grad(outputs["output.loss"], list(sources.values()), materialize_grads=True)
    return {"grad.encoder_out": of_outputs} | {
        f"grad.loss.{name}": value for name, value in zip(sources, found, strict=True)
    }


RUNNERS: Mapping[str, Runner] = {"muse/nicatt": Runner(run=_captioner)}
