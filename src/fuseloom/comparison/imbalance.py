"""How attention divides between modalities over the epochs of a training."""

from torch import nn

from fuseloom.metrics.attention import attention_imbalance_rate, key_cosine
from fuseloom.train.class_adapters import find_class_attention
from fuseloom.train.fit import predict_outputs
from fuseloom.types import Batch, Selection

__all__ = ["ImbalanceRecorder"]

_MOST_ROWS = 512


class ImbalanceRecorder:
    """Takes the imbalance rate of a model with a class token's attention after each epoch of `fit`.

    Args:
        rows: Held-out rows; of many the first 512.
    """

    def __init__(self, rows: Batch | Selection) -> None:
        self.rows = rows.take(slice(0, _MOST_ROWS))
        self.rates: list[float] = []
        """One per epoch; over all heads as one, as `RollingQuery` takes it."""

    def __call__(self, model: nn.Module) -> None:
        """Look at the model as it stands."""
        with find_class_attention(model).reading() as readings:
            predict_outputs(model, self.rows)
        read = readings[0]
        query = read.query.flatten(1)
        cosines = {name: key_cosine(query, key.flatten(1)) for name, key in read.keys.items()}
        self.rates.append(float(attention_imbalance_rate(cosines)))
