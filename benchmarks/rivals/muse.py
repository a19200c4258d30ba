"""MuSE whole, as its paper's code computes it: attention modules; exchange, captioner and CRF in loops."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
import torchcrf
from captioner import PlainCaptioner
from torch import Tensor, nn

from fuseloom.models import FusionModel
from fuseloom.models.muse.decoders import GenerativeLosses
from fuseloom.models.muse.official import official_muse_state
from rivals._common import named_linear, under
from rivals.cls import loop

__all__ = ["PlainMuse", "PlainTransformer"]

Exchanged = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], Sequence[Tensor]]


class PlainTransformer(nn.Module):
    """One stack of post-norm layers for both streams, by the names of the official weights.

    Args:
        dim: Width of the tokens.
        num_layers: Layers in all.
        num_heads: Attention heads.
        hidden: Width of the feedforward part.
        layers: Those that exchange, from zero.
        theta: The quantile below which tokens are exchanged.
        dropout: Of attention, updates and hidden features.
    """

    def __init__(
        self,
        dim: int,
        *,
        num_layers: int,
        num_heads: int,
        hidden: int,
        layers: Sequence[int],
        theta: float,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_layer(dim, num_heads, hidden, dropout) for _ in range(num_layers))
        self.exchanging, self.theta = tuple(layers), theta
        self.exchange: Exchanged = partial(loop, theta=theta)
        """Of streams and their scores; another may take its place."""
        self.dropout = nn.Dropout(dropout)

    def forward(self, streams: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``[B, N, D]`` each to the same; each first token is the cls."""
        found = dict(streams)
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, nn.ModuleDict)
            found = self._run(layer, found, exchanges=number in self.exchanging)
        return found

    def _run(self, layer: nn.ModuleDict, streams: dict[str, Tensor], *, exchanges: bool) -> dict[str, Tensor]:
        normal, scores = {}, {}
        for name, tokens in streams.items():
            update, weights = layer["multihead_attn"](tokens, tokens, tokens, need_weights=exchanges)
            normal[name] = layer["norm1"](tokens + self.dropout(update))
            if exchanges:
                scores[name] = weights[:, 0].detach()
        if exchanges:
            changed = self.exchange(normal, scores)
            normal = dict(zip(normal, changed, strict=True))
        return {name: self._feed(layer, tokens) for name, tokens in normal.items()}

    def _feed(self, layer: nn.ModuleDict, tokens: Tensor) -> Tensor:
        inner = self.dropout(layer["linear1"](tokens).relu())
        found: Tensor = layer["norm2"](tokens + self.dropout(layer["linear2"](inner)))
        return found


def _layer(dim: int, num_heads: int, hidden: int, dropout: float) -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "multihead_attn": nn.MultiheadAttention(dim, num_heads, dropout=dropout, batch_first=True),
            "linear1": nn.Linear(dim, hidden),
            "linear2": nn.Linear(hidden, dim),
            "norm1": nn.LayerNorm(dim),
            "norm2": nn.LayerNorm(dim),
        }
    )


class PlainMuse(nn.Module):
    """The whole model for tags of words, with the weights of ours, of which it shares encoders and painter.

    Args:
        ours: From `official_muse`, with a head of tags and both decoders.
        transformer: Its transformer, of any weights.
        dropout: Before the classifier.
    """

    def __init__(self, ours: FusionModel, transformer: PlainTransformer, *, dropout: float = 0.5) -> None:
        super().__init__()
        decoders = next(part for part in ours.exchanges.values() if isinstance(part, GenerativeLosses))
        assert decoders.painter is not None
        assert decoders.captioner is not None
        state = official_muse_state(ours.state_dict())
        self.encoders, self.painter, self.weights = ours.encoders, decoders.painter, decoders.weights
        self.pooler = named_linear(state, "text_encoder.bert.pooler.dense")
        self.linear, self.linear2 = named_linear(state, "linear"), named_linear(state, "linear2")
        self.classifier, self.dropout = named_linear(state, "classifier"), nn.Dropout(dropout)
        self.transformer = transformer
        self.transformer.load_state_dict(under(state, "cross_transformer."))
        words = under(state, "text_decoder.")
        self.captioner = PlainCaptioner(
            self.linear.out_features,
            words["embedding.weight"].shape[0],
            attention=words["attention.encoder_att.weight"].shape[0],
            embedding=words["embedding.weight"].shape[1],
            hidden=words["init_h.weight"].shape[0],
        )
        self.captioner.load_state_dict(words)
        self.crf = torchcrf.CRF(self.classifier.out_features, batch_first=True)
        self.crf.load_state_dict(under(state, "crf."))

    def forward(self, ids: Tensor, images: Tensor, mask: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Emissions ``[B, N, K]`` and the streams behind the encoders, each with its cls first."""
        streams = {
            "text": self.encoders["text"](ids, mask)[0],
            "image": self.encoders["image"](images, None)[0],
        }
        return self.emissions(self.transformer(streams)), streams

    def emissions(self, streams: Mapping[str, Tensor]) -> Tensor:
        """Each word beside the patch of its number."""
        pairs = torch.cat([streams["text"][:, 1:], streams["image"][:, 1:]], 2)
        found: Tensor = self.classifier(self.dropout(self.linear2(pairs)))
        return found

    def loss(self, rows: Mapping[str, Tensor]) -> Tensor:
        """The sum of all losses."""
        return self.losses(rows).sum()

    def losses(self, rows: Mapping[str, Tensor]) -> Tensor:
        """Those of tags, captions and pictures, each weighted ``[3]``.

        Rows are ``ids``, ``images``, ``mask``, ``tags``, ``captions`` and ``pictures``.
        """
        emissions, streams = self(rows["ids"], rows["images"], rows["mask"])
        task: Tensor = -self.crf(emissions, rows["tags"], rows["mask"], reduction="mean")
        lengths = (rows["captions"] != 0).sum(1)
        image = self.linear(streams["image"][:, 1:])
        captioning = self.captioner.loss(image, rows["captions"], lengths, once=True)
        sentence = self.linear(self.pooler(streams["text"][:, 1]).tanh())
        pixels = rows["pictures"].shape[-2] * rows["pictures"].shape[-1]
        painting = self.painter.loss(sentence, rows["pictures"]).sum() / pixels
        return torch.stack([task, self.weights.captioning * captioning, self.weights.painting * painting])

    @torch.no_grad()
    def predict(self, rows: Mapping[str, Tensor]) -> list[list[int]]:
        """The best path of each row."""
        found: list[list[int]] = self.crf.decode(
            self(rows["ids"], rows["images"], rows["mask"])[0], rows["mask"]
        )
        return found
