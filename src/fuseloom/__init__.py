"""Multimodal fusion for PyTorch: every method behind one contract, and a workbench that measures it.

Importing this package does not import torch; a name that needs it does.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fuseloom.comparison.config import CompareConfig
    from fuseloom.comparison.estimators import FusionClassifier, FusionRegressor
    from fuseloom.comparison.result import Comparison
    from fuseloom.data.options import ReadOptions
    from fuseloom.models import FusionModel, RoutedModel
    from fuseloom.registry import Card, card, create, create_remedy, list_fusions, list_remedies, register
    from fuseloom.types import Alignment, Batch, Masks, Streams, Trace
    from fuseloom.workbench import compare

_HOMES = {
    "Alignment": "types",
    "Batch": "types",
    "Card": "registry",
    "CompareConfig": "comparison.config",
    "Comparison": "comparison.result",
    "FusionClassifier": "comparison.estimators",
    "FusionModel": "models",
    "FusionRegressor": "comparison.estimators",
    "Masks": "types",
    "ReadOptions": "data.options",
    "RoutedModel": "models",
    "Streams": "types",
    "Trace": "types",
    "card": "registry",
    "compare": "workbench",
    "create": "registry",
    "create_remedy": "registry",
    "list_fusions": "registry",
    "list_remedies": "registry",
    "register": "registry",
}

__version__ = "0.1.0"
__all__ = [
    "Alignment",
    "Batch",
    "Card",
    "CompareConfig",
    "Comparison",
    "FusionClassifier",
    "FusionModel",
    "FusionRegressor",
    "Masks",
    "ReadOptions",
    "RoutedModel",
    "Streams",
    "Trace",
    "__version__",
    "card",
    "compare",
    "create",
    "create_remedy",
    "list_fusions",
    "list_remedies",
    "register",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module 'fuseloom' has no attribute {name!r}")
        return getattr(importlib.import_module(f"fuseloom.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
