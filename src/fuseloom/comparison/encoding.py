"""Which encoder a modality gets: the one of its kind, or the one a person names."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from fuseloom.data import Dataset, Preprocessor
from fuseloom.data.preprocessing import PREPROCESSORS
from fuseloom.errors import OptionError, did_you_mean
from fuseloom.registry import list_names, lookup

__all__ = ["EncoderSpec", "chosen_encoders"]

Value = str | int | float | bool


@dataclass(frozen=True, kw_only=True)
class EncoderSpec:
    """An encoder by name, with options of its own and of the preprocessing before it."""

    modality: str
    kind: str
    options: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``MODALITY=KIND[:MODEL][,OPTION=VALUE...]``; an option without a value is switched on.

        Raises:
            OptionError: text of another form, or an unknown kind.

        Example:
            >>> spec = EncoderSpec.parse("photo=timm:resnet18,frozen,output=tokens,size=128")
            >>> spec.kind, dict(spec.options)
            ('timm', {'model': 'resnet18', 'frozen': True, 'output': 'tokens', 'size': 128})
        """
        modality, equals, rest = text.partition("=")
        name, *parts = (part.strip() for part in rest.split(","))
        kind, colon, model = name.partition(":")
        known = list_names(kind="encoder")
        if not equals or kind not in known:
            hint = did_you_mean(kind, known) if equals else ""
            raise OptionError(
                "encoder must be MODALITY=KIND[:MODEL][,OPTION=VALUE...], such as photo=timm:resnet18, got "
                f"{text!r}. Known kinds: {', '.join(known)}.{hint}"
            )
        options: dict[str, Value] = {"model": model} if colon else {}
        for part in parts:
            option, given, value = part.partition("=")
            options[option.strip()] = _value(value.strip()) if given else True
        return cls(modality=modality.strip(), kind=kind, options=options)

    @property
    def reads(self) -> str:
        """The preprocessor that it stands behind; a frozen model is part of it, so that it runs once."""
        return _FROZEN[self.kind] if self.is_frozen else _BEHIND.get(self.kind, self.kind)

    @property
    def is_frozen(self) -> bool:
        """Whether it is a pretrained model of which only the last linear map is trained."""
        return self.kind in _FROZEN and bool(self.options.get("frozen", False))

    @property
    def trained(self) -> str:
        """The encoder of which a model is built."""
        return "projection" if self.is_frozen else self.kind

    def settings(self) -> dict[str, Any]:
        """Options of the preprocessor's ``fit``, and its kind."""
        known = {**_SETTINGS.get(self.kind, {}), **self.options}
        return {"kind": self.reads, **{n: v for n, v in known.items() if n in self._of_fit()}}

    def encoder(self, preprocessor: Preprocessor) -> dict[str, Any]:
        """Kind and options for `fuseloom.models.build_model`.

        Raises:
            OptionError: an option that neither the encoder nor its preprocessing knows.
        """
        cls = lookup(self.trained, kind="encoder")
        taken = [name for name in inspect.signature(cls).parameters if name != "dim"]
        own = {n: v for n, v in self.options.items() if n in taken}
        for name in self.options:
            if name not in taken and name not in self._of_fit() and not (name == "frozen" and self.is_frozen):
                hint = did_you_mean(name, [*taken, *self._of_fit()])
                raise OptionError(f"Unknown option {name!r} of the encoder {self.kind!r}.{hint}")
        learnt = {n: v for n, v in preprocessor.encoder_options().items() if n in taken}
        if fixed := sorted((own.keys() & learnt.keys()) - self._of_fit()):
            raise OptionError(
                f"{fixed[0]} of the encoder {self.kind!r} must be left to the preprocessing, which made it "
                f"{learnt[fixed[0]]}, got {own[fixed[0]]}. Of the preprocessing you can set: "
                f"{', '.join(sorted(self._of_fit()))}."
            )
        return {"kind": self.trained, **learnt, **own}

    def _of_fit(self) -> set[str]:
        return inspect.signature(PREPROCESSORS[self.reads].fit).parameters.keys() - {"modality", "rows"}


_BEHIND = {
    "identity": "embedding",
    "projection": "embedding",
    "timm": "image",
    "hf": "tokens",
    "hf_words": "word-pieces",
}
"""Encoder -> preprocessor, where they are not called the same."""
_FROZEN = {"timm": "image-features", "hf": "text-features"}
"""Pretrained encoder -> preprocessor that holds it, where it is not trained."""
_SETTINGS: Mapping[str, Mapping[str, Value]] = {"timm": {"size": 224, "frames": 1}}
"""Encoder -> settings of the preprocessing, where they are not its own defaults."""


_OF_POSITIONS = {"text": "words", "hf": "hf_words"}
"""Kind of modality, or encoder -> encoder with a token for each position that a task predicts."""


def chosen_encoders(
    dataset: Dataset, named: Sequence[str], *, embedding_encoder: str, anchor: str = ""
) -> dict[str, EncoderSpec]:
    """A spec for each modality of the data.

    Args:
        dataset: Gives the modalities.
        named: As `EncoderSpec.parse` reads them.
        embedding_encoder: For vectors for which none is named.
        anchor: The modality whose positions are predicted.

    Raises:
        OptionError: a spec that cannot be read, names no modality, or one of another kind.
    """
    specs = {spec.modality: spec for spec in map(EncoderSpec.parse, named)}
    if unknown := sorted(specs.keys() - dataset.modalities.keys()):
        known = [*dataset.modalities]
        raise OptionError(
            f"encoder must name a modality, got {unknown[0]!r}. Known: {', '.join(known)}."
            f"{did_you_mean(unknown[0], known)}"
        )
    for name, modality in dataset.modalities.items():
        default = embedding_encoder if modality.kind == "embedding" else modality.kind
        spec = specs.setdefault(name, EncoderSpec(modality=name, kind=default))
        if name == anchor and spec.kind in _OF_POSITIONS:
            spec = specs[name] = replace(spec, kind=_OF_POSITIONS[spec.kind])
        _check_kind(spec, modality.kind)
    return {name: specs[name] for name in dataset.modalities}


def _check_kind(spec: EncoderSpec, found: str) -> None:
    wanted = PREPROCESSORS[spec.reads].reads
    if wanted != found:
        more = " Read it as one with --kind NAME=series." if wanted == "series" else ""
        raise OptionError(
            f"The encoder {spec.kind!r} must get a modality of kind {wanted!r}, got {spec.modality!r} of "
            f"kind {found!r}.{more}"
        )


def _value(text: str) -> Value:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(text.lower(), text)
