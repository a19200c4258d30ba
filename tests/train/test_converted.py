import pytest
import torch

from fuseloom.errors import DataError, OptionError
from fuseloom.train.converted import convert_checkpoint

DIMS = {"text": 3, "audio": 2}


def linear(state, name, into, out):
    state |= {f"{name}.weight": torch.randn(out, into), f"{name}.bias": torch.randn(out)}


@pytest.fixture
def official():
    """The weights of the tensor form of mro with an embedding of 4 and two outputs."""
    state = {}
    linear(state, "before.0.layers.0", 3, 4)
    linear(state, "before.1.layers.0", 2, 4)
    linear(state, "after.0.layers.0", 8, 2)
    linear(state, "after.1.layers.0", 16, 2)
    return state


@pytest.fixture
def convert(tmp_path):
    def convert(state, **told):
        torch.save(state, tmp_path / "model.pth")
        return convert_checkpoint(
            tmp_path / "model.pth", "mro", **{"modalities": DIMS, "classes": ("no", "yes"), **told}
        )

    return convert


def test_the_formula_of_the_paper_is_what_comes_out(official, convert):
    saved = convert(official).saved
    rows = {name: torch.randn(5, width) for name, width in DIMS.items()}
    text, audio = (
        (
            rows[name] @ official[f"before.{i}.layers.0.weight"].T + official[f"before.{i}.layers.0.bias"]
        ).relu()
        for i, name in enumerate(DIMS)
    )
    one = torch.ones(5, 1)
    outer = torch.einsum("bi,bj->bij", torch.cat([text, one], 1), torch.cat([audio, one], 1))
    single = torch.ones(5, 5, dtype=torch.bool)
    single[:4, :4] = single[4, 4] = False
    expected = sum(
        terms @ official[f"after.{i}.layers.0.weight"].T + official[f"after.{i}.layers.0.bias"]
        for i, terms in enumerate([outer[:, single], outer[:, :4, :4].flatten(1)])
    )
    torch.testing.assert_close(saved.model(rows), expected)
    assert not saved.model.training
    assert (saved.task.name, saved.schema.target_kind) == ("classification", "category")


def test_weights_of_half_precision_are_kept_in_single(official, convert):
    saved = convert({name: value.half() for name, value in official.items()}).saved
    assert {value.dtype for value in saved.model.state_dict().values()} == {torch.float32}
    torch.testing.assert_close(
        saved.model.state_dict()["merge.terms.embed.text.0.weight"],
        official["before.0.layers.0.weight"].half().float(),
    )


def test_a_weight_that_is_left_over_is_named(official, convert):
    more = {**official, **{f"crf.{i:02}": torch.ones(1) for i in range(10)}}
    message = r"got 10 that no part of it takes: 'crf\.00', .*'crf\.07' and 2 more\. Is it of a variant"
    with pytest.raises(DataError, match=message):
        convert(more)


def test_a_weight_that_is_missing_is_named(official, convert):
    del official["after.1.layers.0.bias"]
    with pytest.raises(
        DataError, match=r"got 1 missing or without a place: 'merge\.terms\.bias\.1'\. Is the"
    ):
        convert(official)


def test_a_shape_that_does_not_fit_is_named_with_its_official_name(official, convert):
    official["before.1.layers.0.bias"] = torch.ones(5)
    message = (
        r"^'before\.1\.layers\.0\.bias' must give 'merge\.\S+\.audio\.0\.bias' of shape \[4\], .* got \[5\]"
    )
    with pytest.raises(DataError, match=message):
        convert(official)


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"classes": ("no",)}, r"classes must name the 2 outputs of the checkpoint, each once, got \['no'\]"),
        ({"classes": ("no", "no")}, r"classes must name the 2 outputs"),
        ({"classes": ()}, r"targets must name the 2 outputs of the checkpoint, each once, got \['target'\]"),
        ({"targets": ("a", "b")}, r"targets must name one column of classes, got \['a', 'b'\]"),
    ],
)
def test_outputs_must_have_their_names(official, convert, told, message):
    with pytest.raises(OptionError, match=message):
        convert(official, **told)


def test_numbers_are_named_by_their_columns(official, convert):
    saved = convert(official, classes=(), targets=("calm", "joy")).saved
    assert (saved.task.name, saved.task.names) == ("regression", ("calm", "joy"))
    assert saved.schema.targets == ("calm", "joy")
