from typing import Any

import pytest
import torch
from torch import Tensor

from fuseloom.errors import FuseloomError, MaskError, ModalityError, OptionError
from fuseloom.part import Part, check_dims, zero_masked
from fuseloom.registry import Card

DIMS = {"text": 3, "audio": 2}


class Bare(Part):
    kind = "exchange"
    card = Card(summary="Bare.", interaction="additive", cost="1", parameters="none", reads=("scores",))


class Weighted(Part):
    kind = "exchange"
    card = Bare.card

    def __init__(self, dims: dict[str, int]) -> None:
        super().__init__(dims)
        self.scale = torch.nn.Parameter(torch.ones(1, dtype=torch.float64))


class Vectors(Part):
    kind = "exchange"
    card = Card(
        summary="Two vectors.",
        interaction="additive",
        cost="1",
        parameters="none",
        ranks=("embedding",),
        arity=(2, 2),
    )


def streams(batch: int = 2) -> dict[str, Tensor]:
    return {"text": torch.ones(batch, 4, 3), "audio": torch.ones(batch, 2)}


def test_streams_come_out_in_the_order_of_dims() -> None:
    values, masks = Bare(DIMS).enter(dict(reversed(streams().items())), None)
    assert (list(values), masks) == (["text", "audio"], {})


def test_dims_are_copied() -> None:
    dims = dict(DIMS)
    part = Bare(dims)
    dims["video"] = 1
    assert part.dims == DIMS


def test_masked_values_are_zeroed_and_the_caller_s_are_not() -> None:
    given = streams()
    given["text"][0, 1] = torch.nan
    mask = torch.ones(2, 4, dtype=torch.bool)
    mask[0, 1] = False
    values, kept = Bare(DIMS).enter(given, {"text": mask})
    assert values["text"].equal(mask[..., None].expand(2, 4, 3).float())
    assert kept["text"] is mask
    assert given["text"].isnan().sum() == 3


def test_masks_come_out_in_the_order_of_dims() -> None:
    masks = {"audio": torch.ones(2, dtype=torch.bool), "text": torch.ones(2, 4, dtype=torch.bool)}
    assert list(Bare(DIMS).enter(streams(), masks)[1]) == ["text", "audio"]


def test_streams_are_promoted_to_the_parameters_dtype_or_to_their_own() -> None:
    mixed = {"text": torch.ones(2, 3), "audio": torch.ones(2, 2, dtype=torch.bfloat16)}
    assert {value.dtype for value in Bare(DIMS).enter(mixed, None)[0].values()} == {torch.float32}
    assert {value.dtype for value in Weighted(DIMS).enter(mixed, None)[0].values()} == {torch.float64}


@pytest.mark.parametrize(
    "shape", [(2, 3), (2, 4, 3), (2, 3, 4, 5)], ids=["embedding", "tokens", "feature map"]
)
def test_zero_masked_spares_what_is_real_and_stops_gradients(shape: tuple[int, ...]) -> None:
    value = torch.full(shape, torch.nan)
    places = shape[:1] + (shape[2:] if len(shape) == 4 else shape[1:-1])
    mask = torch.arange(torch.Size(places).numel()).view(places) % 2 == 0
    wide = mask.unsqueeze(1 if len(shape) == 4 else -1).expand(shape)
    value = torch.where(wide, torch.randn(shape), value).requires_grad_()
    out = zero_masked(value, mask)
    out.sum().backward()
    assert out.detach().equal(torch.where(wide, value.detach(), torch.zeros(shape)))
    assert value.grad is not None
    assert value.grad.equal(wide.float())


def test_what_a_card_reads_passes_and_anything_else_is_refused() -> None:
    part = Bare(DIMS)
    part.check_reads({"scores": 1})
    with pytest.raises(
        OptionError, match=r"^Bare does not read 'score'. Did you mean 'scores'\? Known: scores\.$"
    ):
        part.check_reads({"score": 1})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"audio": None},
            ModalityError,
            r"^Missing modality \['audio'\]; got \['text'\]\. For samples without it pass zeros and a mask",
        ),
        (
            {"audoi": torch.ones(2, 2)},
            ModalityError,
            r"^Unknown modality \['audoi'\]\. Did you mean 'audio'\? Known: audio, text\.$",
        ),
        (
            {"audio": torch.ones(2, 2, 2, 2, 2)},
            ModalityError,
            r"^'audio' must be \[B, D\] or \[B, N, D\] or \[B, C, H, W\], got shape \(2, 2, 2, 2, 2\)\.$",
        ),
        ({"audio": torch.ones(2)}, ModalityError, r"^'audio' must be .*, got shape \(2,\)\.$"),
        ({"audio": torch.ones(2, 3)}, ModalityError, r"^'audio' must have width 2, got shape \(2, 3\)\.$"),
        (
            {"audio": torch.ones(2, 3, 2, 2)},
            ModalityError,
            r"^'audio' must have width 2, got shape \(2, 3, 2, 2\)\.$",
        ),
        ({"audio": torch.ones(3, 2)}, ModalityError, r"^'audio' must have 2 samples like 'text', got 3\.$"),
        (
            {"audio": torch.ones(2, 2, dtype=torch.int64)},
            ModalityError,
            r"^'audio' must be floating, got torch.int64\. Encode it first\.$",
        ),
    ],
)
def test_streams_that_do_not_fit_are_refused(
    change: dict[str, Tensor | None], error: type[FuseloomError], message: str
) -> None:
    given = {name: value for name, value in {**streams(), **change}.items() if value is not None}
    with pytest.raises(error, match=message):
        Bare(DIMS).enter(given, None)


def test_a_rank_the_card_does_not_accept_is_refused() -> None:
    with pytest.raises(ModalityError, match=r"^'text' must be \[B, D\], got shape \(2, 4, 3\)\.$"):
        Vectors(DIMS).enter(streams(), None)


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        (
            {"txt": torch.ones(2, dtype=torch.bool)},
            r"^Mask of unknown modality 'txt'\. Did you mean 'text'\? Known: audio, text\.$",
        ),
        (
            {"text": torch.ones(2, 4)},
            r"^Mask of 'text' must be bool of shape \(2, 4\) \(True = real\), got torch.float32 of ",
        ),
        (
            {"audio": torch.ones(2, 1, dtype=torch.bool)},
            r"^Mask of 'audio' must be bool of shape \(2,\) .*, got torch.bool of shape \(2, 1\)\.$",
        ),
    ],
    ids=["unknown", "dtype", "shape"],
)
def test_masks_that_do_not_fit_are_refused(masks: dict[str, Tensor], message: str) -> None:
    with pytest.raises(MaskError, match=message):
        Bare(DIMS).enter(streams(), masks)


def test_the_mask_of_a_feature_map_has_its_pixels() -> None:
    part = Bare({"image": 3})
    pixels = torch.ones(2, 4, 5, dtype=torch.bool)
    assert part.enter({"image": torch.ones(2, 3, 4, 5)}, {"image": pixels})[1]["image"] is pixels
    with pytest.raises(MaskError, match=r"bool of shape \(2, 4, 5\)"):
        part.enter({"image": torch.ones(2, 3, 4, 5)}, {"image": torch.ones(2, 3, 4, dtype=torch.bool)})


@pytest.mark.parametrize("width", [0, -1, 2.0, True, "3", None])
def test_a_width_must_be_a_positive_int(width: Any) -> None:
    with pytest.raises(ModalityError, match=r"^Width of 'text' must be a positive int, got "):
        check_dims({"text": width}, (1, None), owner="Bare")


@pytest.mark.parametrize("name", ["", "1st", "a b", "tëxt", "a.b", "_text", 3, None])
def test_a_modality_name_has_a_grammar(name: Any) -> None:
    with pytest.raises(ModalityError, match=r"^Modality name must be a letter followed by letters, digits"):
        check_dims({name: 2}, (1, None), owner="Bare")


@pytest.mark.parametrize("name", ["type", "forward", "keys", "update", "training", "fromkeys", "copy"])
def test_a_name_that_torch_s_containers_use_is_refused(name: str) -> None:
    with pytest.raises(
        ModalityError, match=f"got '{name}', which is an attribute of torch's containers. Rename"
    ):
        check_dims({name: 2}, (1, None), owner="Bare")


def test_a_name_that_could_be_read_as_two_is_refused() -> None:
    with pytest.raises(ModalityError, match=r"got 'text_from_audio', which contains '_from_'\. Rename it\.$"):
        check_dims({"text_from_audio": 2}, (1, None), owner="Bare")


def test_dims_must_be_a_mapping() -> None:
    with pytest.raises(OptionError, match=r"^dims must map modality names to widths, got list\.$"):
        check_dims([("text", 2)], (1, None), owner="Bare")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arity", "expected"),
    [((2, 2), "exactly 2"), ((4, None), "at least 4"), ((1, 2), "1 to 2")],
)
def test_too_few_or_too_many_modalities_are_refused(arity: tuple[int, int | None], expected: str) -> None:
    names = ["text", "audio", "video"]
    message = rf"^Blend must have {expected} modalities, got 3: \['audio', 'text', 'video'\]\.$"
    with pytest.raises(ModalityError, match=message):
        check_dims(dict.fromkeys(names, 2), arity, owner="Blend")


def test_the_limits_of_an_arity_are_included() -> None:
    names = ["text", "audio", "video"]
    for arity in ((3, 3), (1, 3), (3, None)):
        assert list(check_dims(dict.fromkeys(names, 2), arity, owner="Blend")) == names
