"""Text encoders of Hugging Face transformers, by name or from a folder."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from fuseloom.encoders._backbones import PretrainedEncoder, projection
from fuseloom.encoders._ends import check_choice
from fuseloom.encoders._language import Language, language_model, load_tokenizer, tokenise
from fuseloom.nn import masked_mean
from fuseloom.registry import register

__all__ = ["HfEncoder", "load_tokenizer", "tokenise"]


@register("hf")
class HfEncoder(PretrainedEncoder):
    """A pretrained language model of transformers over token ids, as `tokenise` makes them.

    Of a model with encoder and decoder only the encoder is kept. Weights are read as float32; no code that
    comes with a model is run.

    Args:
        model: Name on the Hub, or folder with ``config.json`` and weights.
        dim: Width of the stream.
        output: ``pooled``, the mean over real tokens; ``cls``, the first token; or ``tokens``.
        frozen: Whether the language model keeps its weights and stays in evaluation mode.
        config: What `rebuild_options` gave: then nothing is loaded and ``model`` is only a label.
        dropout: Probability of dropping a feature before the last linear map.

    Shapes: ids ``[B, T]`` (int64) and mask ``[B, T]`` to ``[B, dim]`` or tokens ``[B, T, dim]``,
    and their mask.

    Raises:
        DataError: the model cannot be loaded.
        MissingExtraError: transformers is not installed.
        OptionError: an unknown ``output``.

    Example:
        >>> import torch
        >>> config = {"model_type": "bert", "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1}
        >>> config |= {"num_attention_heads": 2, "intermediate_size": 16}
        >>> encoder = HfEncoder("tiny", dim=4, config=config)
        >>> encoder(torch.tensor([[2, 5, 3]]))[0].shape
        torch.Size([1, 4])
    """

    def __init__(
        self,
        model: str,
        *,
        dim: int = 64,
        output: Literal["pooled", "cls", "tokens"] = "pooled",
        frozen: bool = False,
        config: Mapping[str, Any] | None = None,
        dropout: float = 0.2,
    ) -> None:
        check_choice("output", output, ("pooled", "cls", "tokens"))
        language, self._config, width = language_model(model, config)
        stages = [Language(language, frozen), _End(output, projection(width, dim, dropout))]
        super().__init__(stages, [width, dim], feature_dim=width)

    def rebuild_options(self) -> dict[str, Any]:
        """The configuration, so that neither folder nor network is needed again."""
        return {"config": self._config}


class _End(nn.Module):
    def __init__(self, output: str, project: nn.Module) -> None:
        super().__init__()
        self.output, self.project = output, project

    def forward(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        features, present = self.features(tokens, mask)
        return self.project(features), present

    def features(self, tokens: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """What stands before the linear map."""
        if self.output == "tokens":
            return tokens, mask
        pooled = tokens[:, 0] if self.output == "cls" else masked_mean(tokens, mask)
        return pooled, None if mask is None else mask.any(1)
