"""Names of weights, official and ours: one rule per kind of weight says both, and translates both ways."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal

from torch import Tensor

from fuseloom.errors import OptionError

__all__ = ["Rule", "renamed"]

_DATA_PARALLEL = "module."
_UNUSED = ".num_batches_tracked"
_NUMBER = r"\d+"
_FIELDS = {"modality": r"[A-Za-z][\w-]*", "what": r"weight|bias|running_mean|running_var"}
"""Field of a template -> what stands there; any other is a number."""


@dataclass(frozen=True)
class Rule:
    """One kind of weight, under its official name and under ours, as templates with the same fields.

    ``{modality}`` is a number in official names and a name in ours, ``{what}`` is ``weight`` or the like, and
    any other field is a number, which may be counted from elsewhere.

    Example:
        >>> rule = Rule("norm{k}.ln_{modality}.{what}", "norms.{k}.{modality}.{what}", {"k": 1})
        >>> rule.to_ours("norm1.ln_1.bias", ["rgb", "depth"])
        'norms.0.depth.bias'
        >>> rule.to_official("norms.0.depth.bias", ["rgb", "depth"])
        'norm1.ln_1.bias'
    """

    official: str
    ours: str
    first: Mapping[str, int] = field(default_factory=dict)
    """Field -> the official number of our 0."""

    def to_ours(self, key: str, names: Sequence[str]) -> str | None:
        """Our name, or None if the rule is of another kind of weight."""
        if (found := _pattern(self.official, modality=_NUMBER).fullmatch(key)) is None:
            return None
        fields = {name: self._shifted(name, text, -1) for name, text in found.groupdict().items()}
        if "modality" in fields:
            if int(fields["modality"]) >= len(names):
                return None
            fields["modality"] = names[int(fields["modality"])]
        return self.ours.format(**fields)

    def to_official(self, key: str, names: Sequence[str]) -> str | None:
        """The official name, or None if the rule is of another kind of weight."""
        if (found := _pattern(self.ours).fullmatch(key)) is None:
            return None
        fields = {name: self._shifted(name, text, 1) for name, text in found.groupdict().items()}
        if "modality" in fields:
            if fields["modality"] not in names:
                return None
            fields["modality"] = str(list(names).index(fields["modality"]))
        return self.official.format(**fields)

    def _shifted(self, name: str, text: str, sign: int) -> str:
        return str(int(text) + sign * self.first[name]) if name in self.first else text


def renamed(
    state: Mapping[str, Tensor],
    rules: Iterable[Rule],
    names: Sequence[str],
    *,
    to: Literal["ours", "official"],
    model: str,
) -> dict[str, Tensor]:
    """Weights under their other names; the counts of batches, which nothing depends on, are left out.

    Args:
        state: Name -> weight; official names may have the prefix of a model that ran on several devices.
        rules: Of all kinds of weights.
        names: Of the modalities, in the order of the official numbers.
        to: Whose names are wanted.
        model: What the error calls the model.

    Raises:
        OptionError: a name that no rule is of.
    """
    rules = list(rules)
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.endswith(_UNUSED):
            continue
        if to == "ours":
            bare = key.removeprefix(_DATA_PARALLEL)
            own = next((name for rule in rules if (name := rule.to_ours(bare, names)) is not None), None)
        else:
            own = next((name for rule in rules if (name := rule.to_official(key, names)) is not None), None)
        if own is None:
            raise OptionError(f"The state must be that of {model}, got {key!r} in it.")
        found[own] = value
    return found


@cache
def _pattern(template: str, **fields: str) -> re.Pattern[str]:
    known = _FIELDS | fields
    literal, named = re.split(r"{\w+}", template), re.findall(r"{(\w+)}", template)
    groups = [f"(?P<{name}>{known.get(name, _NUMBER)})" for name in named]
    return re.compile(
        "".join(re.escape(text) + group for text, group in zip(literal, [*groups, ""], strict=True))
    )
