"""A recipe: everything one training run depends on, as YAML that a person writes."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from fuseloom.data import ReadOptions
from fuseloom.errors import MissingExtraError, OptionError, RunError, UnknownNameError, did_you_mean
from fuseloom.train.fit import FitConfig
from fuseloom.train.trainer import TrainerConfig

__all__ = [
    "DataSettings",
    "ModelSettings",
    "Recipe",
    "list_recipes",
    "read_recipe",
    "recipe_text",
    "recipe_yaml",
]

_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """What is learnt from."""

    source: str = "digits"
    """A file, a folder or the name of an embedded set, as `fuseloom.data.load` takes it."""
    read: ReadOptions = field(default_factory=ReadOptions)
    """What is not to be inferred."""
    task: str | None = None
    """Told from the target by default."""
    task_options: Mapping[str, Any] = field(default_factory=dict)
    """Options of the task, such as ``constrained`` of tagging: no tag follows that its scheme forbids."""
    split_seed: int = 0
    """Of the splits that are made."""
    modalities: tuple[str, ...] = ()
    """Those to learn from; all, where none is named."""
    fraction: float = 1.0
    """Share of the training and validation rows to use, by class; test rows are always all used."""
    conditions: str | None = None
    """Column of labels, such as the weather: besides all test rows, those of each of its values are scored,
    and so are rows of no split that have one."""

    def __post_init__(self) -> None:
        if not 0 < self.fraction <= 1:
            raise OptionError(f"fraction must be in (0, 1], got {self.fraction}.")


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """What is trained; encoders follow from the data, unless they are named."""

    fusion: str = "concat"
    """As ``MERGE`` or ``EXCHANGE+MERGE``, each with ``@early``, ``@middle`` or ``@late`` if need be; or a
    published system, such as ``muse``."""
    trunk: str | None = None
    """Modality whose encoder goes on behind a merge ``@early`` or ``@middle``; by default the deepest."""
    dim: int = 64
    """Width of every stream and of the fused value."""
    dropout: float = 0.5
    """In encoders and head."""
    encoders: Mapping[str, str] = field(default_factory=dict)
    """Modality -> ``KIND[:MODEL][,OPTION=VALUE...]`` of its encoder, such as ``hf:bert-base-uncased``."""
    embedding_encoder: Literal["embedding", "identity"] = "embedding"
    """What encodes given vectors: a small MLP, or nothing."""
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Part name -> its keyword options."""
    start: Mapping[str, str] = field(default_factory=dict)
    """Modality -> run folder or saved model from whose encoder of that modality training starts."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One training run; `read_recipe` makes it from a file."""

    name: str = "run"
    """What it is called."""
    summary: str = ""
    """What it shows."""
    data: DataSettings = field(default_factory=DataSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    fit: FitConfig = field(default_factory=FitConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    watch: tuple[str, ...] = ()
    """What looks at the model after each epoch: ``shared-space``, ``gradient-norms``, ``costs``; it takes
    time, and leaves the run as it is."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Dotted key of a number -> where it comes from."""

    def state(self) -> dict[str, Any]:
        """Plain values, as YAML and JSON know them."""
        return {name: _plain(value) for name, value in asdict(self).items()}


def list_recipes() -> list[str]:
    """Names of the recipes that come with the package, sorted.

    Example:
        >>> {"digits", "entities"} <= set(list_recipes())
        True
    """
    found = (file.name for file in files("fuseloom").joinpath("recipes").iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


def recipe_text(source: str) -> str:
    """The YAML of a recipe, by its name or its file.

    Raises:
        RunError: there is no such file.
        UnknownNameError: no recipe has the name.
    """
    if not source.endswith(_SUFFIXES):
        if source not in (known := list_recipes()):
            raise UnknownNameError(f"Unknown recipe {source!r}.{did_you_mean(source, known)}")
        return files("fuseloom").joinpath("recipes", f"{source}.yaml").read_text(encoding="utf-8")
    try:
        return Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{source} must be a recipe in YAML that can be read, got {error}.") from None


def read_recipe(source: str | None = None, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe and change some of its settings.

    Args:
        source: A YAML file or the name of a recipe of the package; None for one of defaults.
        overrides: ``KEY.SUB=VALUE`` each; the last one counts. A key may lead into a mapping, such as
            ``model.options.low_rank.rank=8``, and leaves the rest of it as it is.

    Raises:
        MissingExtraError: jsonargparse is not installed.
        OptionError: an unknown key, or a value of the wrong type or out of its range.
        RunError: there is no such file, or it is no YAML.
        UnknownNameError: no recipe has the name.

    Example:
        >>> recipe = read_recipe("digits", ["fit.lr=1e-2", "model.fusion=film"])
        >>> recipe.fit.lr, recipe.model.fusion, recipe.model.dim
        (0.01, 'film', 64)
    """
    given = {} if source is None else _parsed(source)
    try:
        import jsonargparse
    except ImportError:
        raise MissingExtraError("Recipes need jsonargparse. Run: pip install 'fuseloom[workbench]'") from None
    arguments = _arguments(given, overrides)
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--recipe", type=Recipe, default=Recipe())
    try:
        config = parser.parse_object({"recipe": given}) if given else parser.get_defaults()
        config = parser.parse_args(arguments, namespace=config)
        recipe = parser.instantiate(config).recipe
    except OptionError:
        raise
    except (jsonargparse.ArgumentError, TypeError, ValueError) as error:
        raise OptionError(f"recipe must have settings of the right types, got {_short(error)}") from None
    assert isinstance(recipe, Recipe)
    return recipe


def recipe_yaml(recipe: Recipe) -> str:
    """A recipe with all its settings as YAML."""
    import yaml

    return str(yaml.safe_dump(recipe.state(), sort_keys=False, allow_unicode=True))


def _parsed(source: str) -> dict[str, Any]:
    import yaml

    try:
        given = yaml.safe_load(recipe_text(source))
    except yaml.YAMLError as error:
        raise RunError(f"{source} must be YAML, got: {' '.join(str(error).split())}.") from None
    if not isinstance(given, dict):
        raise RunError(f"{source} must hold settings by name, got {type(given).__name__}.")
    _check_keys(given, Recipe)
    return given


def _check_keys(given: Mapping[str, Any], kind: type, inside: str = "") -> None:
    known = {one.name: one.type for one in fields(kind)}
    for key, value in given.items():
        if key not in known:
            raise OptionError(f"Unknown setting {inside + str(key)!r}.{did_you_mean(str(key), known)}")
        section = known[key]
        if isinstance(section, type) and is_dataclass(section):
            if not isinstance(value, dict):
                raise OptionError(f"{inside}{key} must be settings by name, got {value!r}.")
            _check_keys(value, section, f"{inside}{key}.")


def _arguments(given: Mapping[str, Any], overrides: Sequence[str]) -> list[str]:
    """The overrides as the parser takes them; a mapping is given whole, with what the file says of it."""
    known = dict(_leaves(Recipe))
    arguments: list[str] = []
    mappings: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise OptionError(f"set must be KEY.SUB=VALUE, got {text!r}.")
        leaf, inside = _setting(key.strip(), known)
        if not _is_mapping(known[leaf]):
            arguments.append(f"--recipe.{leaf}={value}")
        elif not inside:
            mappings[leaf] = _value(key, value)
        else:
            whole = mappings.setdefault(leaf, deepcopy(_inside(given, leaf.split("."))))
            if _is_mapping(of_values := get_args(known[leaf])[1]) or of_values is Any:
                _put(whole, inside.split("."), _value(key, value), leaf)
            else:  # a name with dots, such as that of a column, and a text
                _put(whole, [inside], value, leaf)
    whole_ones = (f"--recipe.{leaf}={json.dumps(whole, default=str)}" for leaf, whole in mappings.items())
    return [*arguments, *whole_ones]


def _value(key: str, text: str) -> Any:
    import jsonargparse
    import yaml

    try:
        return jsonargparse.get_loader("yaml")(text)  # unlike YAML's own, it takes 1e-3 for a number
    except yaml.YAMLError:
        raise OptionError(f"{key.strip()} must be a value as YAML writes it, got {text!r}.") from None


def _setting(key: str, known: Mapping[str, Any]) -> tuple[str, str]:
    """The setting that a key names, and what it names inside of that."""
    for leaf, kind in known.items():
        if key == leaf or (_is_mapping(kind) and key.startswith(f"{leaf}.") and key > f"{leaf}."):
            return leaf, key[len(leaf) + 1 :]
    sections = {leaf.rpartition(".")[0] for leaf in known}
    head = max((name for name in sections if key.startswith(f"{name}.")), key=len, default="")
    near = f"{head}.{key[len(head) + 1 :].partition('.')[0]}" if head else key
    raise OptionError(f"Unknown setting {key!r}.{did_you_mean(near, known)}")


def _is_mapping(kind: Any) -> bool:
    return get_origin(kind) is Mapping


def _inside(given: Mapping[str, Any], path: Sequence[str]) -> Any:
    for name in path:
        given = given.get(name, {})
    return given


def _put(whole: Any, path: Sequence[str], value: Any, inside: str) -> None:
    """Set a value in mappings within mappings, which are made where they are missing."""
    if not isinstance(whole, dict):
        raise OptionError(f"{inside} must be settings by name, got {whole!r}.")
    name, *rest = path
    if rest:
        _put(whole.setdefault(name, {}), rest, value, f"{inside}.{name}")
    else:
        whole[name] = value


def _leaves(kind: type, inside: str = "") -> Iterator[tuple[str, Any]]:
    for one in fields(kind):
        if isinstance(one.type, type) and is_dataclass(one.type):
            yield from _leaves(one.type, f"{inside}{one.name}.")
        else:
            yield inside + one.name, one.type


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()).replace("recipe.", "")
    return re.sub(r"<class '(\w+)'>", r"\1", text)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value
