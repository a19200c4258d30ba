import builtins

import pytest
import yaml

from fuseloom.errors import MissingExtraError, OptionError, RunError, UnknownNameError
from fuseloom.train.recipe import Recipe, list_recipes, read_recipe, recipe_text, recipe_yaml


def leaves(settings, inside=""):
    """Dotted keys with their values."""
    for key, value in settings.items():
        if isinstance(value, dict):
            yield f"{inside}{key}", value
            yield from leaves(value, f"{inside}{key}.")
        else:
            yield inside + key, value


def numbers(settings):
    """Dotted keys of all numbers."""
    for key, value in leaves(settings):
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield key


@pytest.mark.parametrize("name", list_recipes())
def test_every_number_of_a_recipe_has_a_source(name):
    given = yaml.safe_load(recipe_text(name))
    given["fit"]["lr"] = float(given["fit"]["lr"])  # YAML 1.1 takes 1.5e-3 for text
    sources = given.pop("sources")
    assert set(numbers(given)) <= sources.keys() <= dict(leaves(given)).keys()
    assert all(len(source) > 5 for source in sources.values())
    assert read_recipe(name).name == name


def test_a_resolved_recipe_reads_back_as_itself(tmp_path):
    recipe = read_recipe(
        "digits", ["data.read.text=[a, b]", "data.read.kinds={a: text}", "fit.batch_size=null"]
    )
    path = tmp_path / "config.yaml"
    path.write_text(recipe_yaml(recipe), encoding="utf-8")
    assert read_recipe(str(path)) == recipe
    assert recipe.data.read.text == ("a", "b")
    assert recipe.fit.batch_size is None


def test_the_last_override_counts_and_is_typed():
    recipe = read_recipe(
        None, ["fit.lr=1", "fit.lr=2e-3", "trainer.loggers=[tensorboard]", "fit.sequential=true"]
    )
    assert recipe.fit.lr == 0.002
    assert recipe.trainer.loggers == ("tensorboard",)
    assert recipe.fit.sequential is True
    assert read_recipe() == Recipe()


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        (["low_rank.rank=8"], {"low_rank": {"rank": 8}}),
        (["low_rank.rank=8", "low_rank.rank=2"], {"low_rank": {"rank": 2}}),
        (["muse.theta=1e-3"], {"low_rank": {"rank": 4}, "muse": {"theta": 0.001}}),
        (
            ["muse.add=true", "muse.layers=[1, 3]", "muse.by=norm", "muse.loss.beta=0.5"],
            {
                "low_rank": {"rank": 4},
                "muse": {"add": True, "layers": [1, 3], "by": "norm", "loss": {"beta": 0.5}},
            },
        ),
    ],
)
def test_a_key_may_lead_into_the_options_of_a_part(overrides, options):
    assert read_recipe("digits", [f"model.options.{one}" for one in overrides]).model.options == options


def test_options_of_the_task_are_typed():
    assert read_recipe("entities", ["data.task_options.constrained=true"]).data.task_options == {
        "constrained": True
    }


def test_a_mapping_that_is_given_whole_replaces_what_came_before_and_is_changed_by_what_comes_after():
    before, whole, after = "model.options.film.x=1", "model.options={sum: {a: 1}}", "model.options.sum.b=2"
    assert read_recipe("digits", [before, whole, after]).model.options == {"sum": {"a": 1, "b": 2}}
    assert read_recipe("digits", [after, whole]).model.options == {"sum": {"a": 1}}


def test_a_key_may_lead_into_a_mapping_of_texts():
    recipe = read_recipe(None, ["model.encoders.text=words,max_n=2", "data.read.kinds.a.b=text"])
    assert recipe.model.encoders == {"text": "words,max_n=2"}
    assert recipe.data.read.kinds == {"a.b": "text"}  # a column with a dot in its name


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "model.optionz.low_rank.rank=8",
            r"Unknown setting 'model\.optionz\.low_rank\.rank'.*'model\.options'\?",
        ),
        (
            "data.read.kind.a=text",
            r"Unknown setting 'data\.read\.kind\.a'\. Did you mean 'data\.read\.kinds'",
        ),
        ("model.options.=8", r"Unknown setting 'model\.options\.'"),
        ("fit.lr.low=1", r"Unknown setting 'fit\.lr\.low'\. Did you mean 'fit\.lr'"),
        (
            "model.options.low_rank.rank.x=1",
            r"model\.options\.low_rank\.rank must be settings by name, got 4",
        ),
        ("model.options={a: [}", r"model\.options must be a value as YAML writes it, got '\{a: \[\}'"),
        ("fit.lrr=1", r"Unknown setting 'fit\.lrr'\. Did you mean 'fit\.lr'\?"),
        ("fit=os.system", r"Unknown setting 'fit'"),
        ("model.class_path=os.system", r"Unknown setting 'model\.class_path'"),
        ("fit.lr", r"set must be KEY\.SUB=VALUE, got 'fit\.lr'"),
        ("fit.lr=fast", r"\"fit\.lr\": Expected a float\. Got value: fast"),
        ("fit.seed=1.5", r"\"fit\.seed\": Expected a int\. Got value: 1\.5"),
        ("fit.lr=-1", r"lr must be positive, got -1"),
        ("data.fraction=2", r"fraction must be in \(0, 1\], got 2"),
        ("trainer.devices=0", r"devices must be at least 1, got 0"),
    ],
)
def test_a_wrong_override_is_answered(override, message):
    with pytest.raises(OptionError, match=message):
        read_recipe("digits", [override])


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("fit: {lrr: 1}", OptionError, r"Unknown setting 'fit\.lrr'\. Did you mean 'lr'"),
        ("modes: {}", OptionError, r"Unknown setting 'modes'\. Did you mean 'model'"),
        ("fit: other.yaml", OptionError, r"fit must be settings by name, got 'other\.yaml'"),
        ("model: {class_path: os.system}", OptionError, r"Unknown setting 'model\.class_path'"),
        ("fit: {lr: [1]}", OptionError, r"settings of the right types.*fit\.lr"),
        ("a: [", RunError, r"must be YAML, got"),
        ("- a", RunError, r"must hold settings by name, got list"),
        ("!!python/object/apply:os.system ['true']", RunError, r"must be YAML, got"),
    ],
)
def test_a_wrong_file_is_answered(tmp_path, text, error, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(error, match=message):
        read_recipe(str(path))


def test_what_is_not_there_is_named():
    with pytest.raises(UnknownNameError, match=r"Unknown recipe 'digit'\. Did you mean 'digits'"):
        read_recipe("digit")
    with pytest.raises(RunError, match=r"nowhere\.yaml must be a recipe in YAML that can be read"):
        read_recipe("nowhere.yaml")


def test_without_jsonargparse_the_message_names_the_install_command(monkeypatch):
    found = builtins.__import__

    def without(name, *rest, **options):
        if name == "jsonargparse":
            raise ImportError(name)
        return found(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(
        MissingExtraError, match=r"need jsonargparse\. Run: pip install 'fuseloom\[workbench\]'"
    ):
        read_recipe("digits")


def test_a_recipe_says_how_a_rate_falls_and_what_does_not_decay():
    wanted = ["fit.schedule=poly", "fit.power=0.8", "fit.warmup_from=1e-6", "fit.fall_from=start"]
    fit = read_recipe("digits", [*wanted, "fit.no_decay.encoders.image=norms", "fit.no_decay.*=vectors"]).fit
    assert (fit.schedule, fit.power, fit.warmup_from, fit.fall_from) == ("poly", 0.8, 1e-6, "start")
    assert fit.no_decay == {"encoders.image": "norms", "*": "vectors"}
