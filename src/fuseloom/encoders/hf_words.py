"""Text encoders of Hugging Face transformers with a token for each word."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from fuseloom.encoders._backbones import PretrainedEncoder, projection
from fuseloom.encoders._language import Language, language_model
from fuseloom.encoders._shapes import check_shape
from fuseloom.part import zero_masked
from fuseloom.registry import register

__all__ = ["HfWordEncoder", "first_pieces"]


@register("hf_words")
class HfWordEncoder(PretrainedEncoder):
    """A pretrained language model of transformers over word pieces, of which the first stands for its word.

    Otherwise it is as `HfEncoder`, of which this is the form that tasks of words need.

    Args:
        model: Name on the Hub, or folder with ``config.json`` and weights.
        num_words: ``W``, most words of a text.
        dim: Width of the stream.
        frozen: Whether the language model keeps its weights and stays in evaluation mode.
        config: What `rebuild_options` gave: then nothing is loaded and ``model`` is only a label.
        dropout: Probability of dropping a feature before the last linear map.

    Shapes: pieces ``[B, T, 2]`` (int64: id, and number of the word or -1) and mask ``[B, T]`` to tokens
    ``[B, W, dim]`` and mask ``[B, W]``.

    Raises:
        DataError: the model cannot be loaded.
        MissingExtraError: transformers is not installed.

    Example:
        >>> config = {"model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1}
        >>> config |= {"num_attention_heads": 2, "intermediate_size": 16}
        >>> encoder = HfWordEncoder("tiny", num_words=3, dim=4, config=config)
        >>> pieces = torch.tensor([[[2, -1], [5, 0], [6, 0], [7, 1], [3, -1]]])
        >>> tokens, mask = encoder(pieces)
        >>> tokens.shape, mask.tolist()
        (torch.Size([1, 3, 4]), [[True, True, False]])
    """

    def __init__(
        self,
        model: str,
        *,
        num_words: int,
        dim: int = 64,
        frozen: bool = False,
        config: Mapping[str, Any] | None = None,
        dropout: float = 0.2,
    ) -> None:
        language, self._config, width = language_model(model, config)
        stages = [_Words(Language(language, frozen), num_words), _End(projection(width, dim, dropout))]
        super().__init__(stages, [width, dim], feature_dim=width)

    def rebuild_options(self) -> dict[str, Any]:
        """The configuration, so that neither folder nor network is needed again."""
        return {"config": self._config}


class _Words(nn.Module):
    def __init__(self, language: Language, num_words: int) -> None:
        super().__init__()
        self.language, self.num_words = language, num_words

    def forward(self, pieces: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        check_shape(pieces, "B", "T", 2)
        hidden, _ = self.language(pieces[..., 0], mask)
        words = pieces[..., 1] if mask is None else pieces[..., 1].masked_fill(~mask, -1)
        return first_pieces(hidden, words, self.num_words)


class _End(nn.Module):
    def __init__(self, project: nn.Module) -> None:
        super().__init__()
        self.project = project

    def forward(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        return self.project(tokens), mask

    def features(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What stands before the linear map."""
        return tokens, mask


def first_pieces(
    values: Float[Tensor, "batch piece dim"], words: Int[Tensor, "batch piece"], num_words: int
) -> tuple[Float[Tensor, "batch word dim"], Bool[Tensor, "batch word"]]:
    """Of each word the value of its first piece; zero for a word without pieces.

    Args:
        values: ``[B, T, D]``.
        words: Number of the word of each piece, ``[B, T]``, rising from 0; -1 for what is in no word.
        num_words: ``W``; words from there on are left out.

    Returns:
        ``[B, W, D]`` and whether the word has a piece, ``[B, W]``.
    """
    before = torch.nn.functional.pad(words, (1, 0), value=-1)[:, :-1]
    first = (words >= 0) & (words != before) & (words < num_words)
    target = torch.where(first, words, num_words)  # all others to a place that is cut off
    steps = torch.arange(words.shape[1], device=words.device).expand_as(words)
    places = words.new_zeros(words.shape[0], num_words + 1).scatter(1, target, steps)[:, :-1]
    there = torch.zeros_like(first[:, :1]).expand(-1, num_words + 1).scatter(1, target, first)[:, :-1]
    found = values.gather(1, places[..., None].expand(-1, -1, values.shape[-1]))
    return zero_masked(found, there), there
