"""Runners of MuSE whole at a tiny size: entities and sentiment, all losses, the gradient of every weight."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from fuseloom.errors import DataError, MissingExtraError
from fuseloom.heads import LinearHead, TaggingHead
from fuseloom.models.fusion import FusionModel
from fuseloom.models.muse.captioner import Captioner
from fuseloom.models.muse.decoders import LossWeights
from fuseloom.models.muse.official import OfficialImage, OfficialText, convert_muse, official_muse
from fuseloom.models.muse.pixelcnn import PixelCnn
from fuseloom.nn import PostNormBlock
from fuseloom.nn.crf_packing import unpack_chain
from fuseloom.nn.crf_paths import best_path
from fuseloom.nn.crf_sums import log_likelihood
from fuseloom.testing.goldens._case import Given, Runner, Tolerance, leaf
from fuseloom.types import Trace

__all__ = ["RUNNERS"]

_LOSSES = "exchanges.2"
_WATCHED = {
    "bert": "encoders.text.stages.0",
    "body": "encoders.image.stages.0",
    "patches": "encoders.image.stages.1",
    "linear": f"{_LOSSES}.linear",
    "pooler": f"{_LOSSES}.pooler",
    "captioner": f"{_LOSSES}.captioner",
    "painter": f"{_LOSSES}.painter",
    "transformer": "exchanges.2_1",
}
"""Modules whose calls the stored values are of."""
Seen = Mapping[str, list[tuple[Any, Any]]]


def _run(given: Given) -> dict[str, Tensor]:
    weights = {
        name: leaf(value) if value.is_floating_point() and ".running_" not in name else value
        for name, value in given.weights.under("").items()
    }
    model, trace = _model(given), Trace()
    seen = _watch(model)
    tags = given.option("task") == "mner"
    mask = given.inputs["attention_mask"].bool()
    reads: dict[str, Any] = {"captions": given.inputs["caption"], "pictures": given.inputs["image_decode"]}
    if tags:
        reads["positions"] = mask
    inputs = {"text": given.inputs["input_ids"], "image": given.inputs["image_raw"]}
    _check_segments(given.inputs["token_type_ids"])
    outputs = functional_call(
        model, convert_muse(weights), (inputs, {"text": mask}), {**reads, "trace": trace}
    )
    found, task = (_tagged if tags else _classified)(given, outputs)
    return found | _losses(given, trace, task, weights) | _decoded(given, seen) | _inside(given, seen, trace)


def _check_segments(segments: Tensor) -> None:
    """Refuse a case of other segments than the official features have, which the model makes itself."""
    first = torch.zeros_like(segments)
    first[:, 0] = 1
    if not segments.equal(first):
        raise DataError(f"input.token_type_ids must be 1 at the first place only, got {segments.tolist()}.")


def _model(given: Given) -> FusionModel:
    width, bert, writes, paints = (
        given.option(name) for name in ("hidden", "bert", "text_decoder", "image_decoder")
    )
    tags, count = given.option("task") == "mner", given.option("num_labels")
    weights = given.weights.under("image_encoder.resnet.0.")
    features = weights["weight"].shape[0]
    return official_muse(
        OfficialText(_bert(width, bert)),
        OfficialImage(_stem(features), features, dim=width, grid=given.option("encoded_image_size")),
        TaggingHead(width, count) if tags else LinearHead(width, count),
        captioner=Captioner(
            width,
            writes["vocab"],
            attention_dim=writes["attention_dim"],
            embedding_dim=writes["embed_dim"],
            hidden_dim=writes["decoder_dim"],
        ),
        painter=PixelCnn(
            width,
            num_resnet=paints["nr_resnet"],
            num_filters=paints["nr_filters"],
            num_mixtures=paints["nr_logistic_mix"],
        ),
        weights=LossWeights(
            captioning=given.option("alpha") / given.option("max_seq_length"), painting=given.option("beta")
        ),
        num_layers=given.option("ct_layers"),
        layers=range(given.option("replace_start"), given.option("replace_end") + 1),
        block=partial(PostNormBlock, num_heads=given.option("heads"), hidden=given.option("ct_ff")),
        theta=given.option("theta"),
        rule="quantile" if given.option("use_quantile") else "threshold",
        mode="add" if given.option("skip_connection") else "replace",
    ).eval()


def _bert(width: int, config: Mapping[str, Any]) -> nn.Module:
    try:
        from transformers import BertConfig, BertModel
    except ImportError:
        raise MissingExtraError(
            "The cases of MuSE whole need transformers. Install it with: pip install 'fuseloom[text]'"
        ) from None
    sizes = {
        "vocab_size": config["vocab"],
        "hidden_size": width,
        "num_hidden_layers": config["layers"],
        "num_attention_heads": config["heads"],
        "intermediate_size": config["intermediate"],
        "max_position_embeddings": config["max_pos"],
        "layer_norm_eps": config["ln_eps"],
        "attn_implementation": "eager",
    }
    model: nn.Module = BertModel(BertConfig(**sizes), add_pooling_layer=False)
    return model


def _stem(features: int) -> nn.Module:
    """What stands for the ResNet in the cases."""
    return nn.Sequential(
        nn.Conv2d(3, features, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(features),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )


def _watch(model: nn.Module) -> Seen:
    seen: dict[str, list[tuple[Any, Any]]] = {name: [] for name in _WATCHED}
    for name, place in _WATCHED.items():
        model.get_submodule(place).register_forward_hook(partial(_see, seen[name]))
    return seen


def _see(calls: list[tuple[Any, Any]], _: nn.Module, args: Any, out: Any) -> None:
    calls.append((args, out))


def _tagged(given: Given, outputs: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    chain, emissions, mask = unpack_chain(outputs)
    likelihood = log_likelihood(chain, emissions, given.inputs["labels"], mask)
    path = best_path(chain, emissions, mask, padding=0)
    return {"output.logits": emissions, "output.viterbi": path[None]}, -likelihood.mean()


def _classified(given: Given, outputs: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The official loss is multiplied by the length that all losses are divided by."""
    loss = nn.functional.cross_entropy(outputs, given.inputs["labels"])
    return {"output.logits": outputs}, loss * given.option("max_seq_length")


def _losses(given: Given, trace: Trace, task: Tensor, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    captioning, painting = (trace.losses[f"exchange.2.{name}"] for name in ("captioning", "painting"))
    length, pixels = given.option("max_seq_length"), given.option("ti_crop_size") ** 2
    total = captioning + painting + given.option("sigma") * task / length
    trained = {name: value for name, value in weights.items() if value.requires_grad}
    # A weight that we leave out, as no output depends on it, has no gradient.
    gradients = torch.autograd.grad(total, list(trained.values()), allow_unused=True, materialize_grads=True)
    stored = {
        "loss_it": captioning * length / given.option("alpha"),
        "loss_ti": painting * pixels / given.option("beta"),
        "loss_task": task,
        "loss_final": total,
    }
    found = {f"output.{name}": value.reshape(1) for name, value in stored.items()}
    return found | {f"grad.loss.weight.{name}": value for name, value in zip(trained, gradients, strict=True)}


def _decoded(given: Given, seen: Seen) -> dict[str, Tensor]:
    """What the decoders gave; the official captions come in order of length, and end with the longest."""
    lengths = given.inputs["caption_length"].flatten()
    order = lengths.sort(descending=True, stable=True).indices
    ((_, (logits, attention)),) = seen["captioner"]
    ((_, image_logits),) = seen["painter"]
    steps = int(lengths.max()) - 1
    return {
        "output.image_logits": image_logits,
        "output.caption_predictions": logits[order, :steps],
        "output.caption_alphas": attention[order, :steps],
        "output.caption_sort_ind": order,
    }


def _inside(given: Given, seen: Seen, trace: Trace) -> dict[str, Tensor]:
    grid = given.option("encoded_image_size")
    ((before, after),) = seen["transformer"]
    ((_, (hidden, _)),) = seen["bert"]
    ((_, (maps, _)),) = seen["body"]
    ((_, (patches, _)),) = seen["patches"]
    ((_, pooled),) = seen["pooler"]
    of_image, of_text = (out for _, out in seen["linear"])
    found = {
        "last_hidden_state": hidden,
        "pooler_output": pooled.tanh(),
        "image_decoder_h": of_text,
        "image_features": maps.movedim(1, -1),
        "image_embed": patches.unflatten(1, (grid, grid)),
        "text_decoder_encoder_out": of_image.unflatten(1, (grid, grid)),
    }
    for name, number in (("text", 1), ("image", 2)):
        found |= {f"cross_in_{name}": before[0][name], f"cross_out_{name}": after[name]}
        for layer in range(given.option("replace_start"), given.option("replace_end") + 1):
            chosen = trace.records[f"exchange.2_1.layer.{layer}.after_norm.{name}.selected"]
            found[f"layer{layer}.sel{number}"] = chosen
    return {f"mid.{name}": value for name, value in found.items()}


# A sum over all pixels: at the tolerance of the logits it would hide a whole nat.
_WHOLE = Runner(run=_run, accuracy={"output.loss_ti": Tolerance(rtol=1e-4)})
RUNNERS: Mapping[str, Runner] = {"muse/mner": _WHOLE, "muse/msa": _WHOLE}
