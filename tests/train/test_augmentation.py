from dataclasses import replace

import pytest
import torch
from torch import nn

from fuseloom.errors import OptionError
from fuseloom.tasks.classification import Classification
from fuseloom.train.augmentation import Augmentation
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.trainer import TrainerConfig, fit_with_trainer
from fuseloom.types import Batch

FLIP = {"photo": {"RandomHorizontalFlip": {"p": 1.0}}}


def pictures(rows: int = 4, side: int = 8) -> torch.Tensor:
    return torch.randint(0, 256, (rows, 3, side, side), dtype=torch.uint8)


def test_rows_are_changed_each_on_its_own_and_others_stay():
    batch = Batch(inputs={"photo": pictures(64), "text": torch.ones(64, 2)}, target=torch.arange(64))
    changed = Augmentation({"photo": {"RandomHorizontalFlip": {}}})(batch)
    turned = (changed.inputs["photo"] == batch.inputs["photo"].flip(-1)).flatten(1).all(1)
    same = (changed.inputs["photo"] == batch.inputs["photo"]).flatten(1).all(1)
    assert (turned ^ same).all()
    assert 10 < turned.sum() < 54
    assert changed.inputs["text"] is batch.inputs["text"]
    assert changed.target is batch.target
    assert type(changed.inputs["photo"]) is torch.Tensor


def test_transforms_are_done_in_their_order_with_their_options():
    batch = Batch(inputs={"photo": pictures()})
    wanted = {"Grayscale": {"num_output_channels": 3}, "RandomInvert": {"p": 1.0}}
    changed = Augmentation({"photo": wanted})(batch).inputs["photo"]
    torch.testing.assert_close(changed[:, 0], changed[:, 2], rtol=0, atol=0)
    grey = Augmentation({"photo": {"Grayscale": {"num_output_channels": 3}}})(batch).inputs["photo"]
    torch.testing.assert_close(changed, 255 - grey, rtol=0, atol=0)


def test_a_transform_without_options_takes_its_own():
    batch = Batch(inputs={"photo": pictures()})
    changed = Augmentation({"photo": {"RandomChannelPermutation": None}})(batch).inputs["photo"]
    torch.testing.assert_close(changed.sort(1).values, batch.inputs["photo"].sort(1).values)


def test_a_mask_of_pixels_goes_with_its_picture():
    shown = torch.zeros(4, 8, 8, dtype=torch.bool)
    shown[:, :, :3] = True
    batch = Batch(inputs={"photo": pictures()}, masks={"photo": shown})
    changed = Augmentation(FLIP)(batch)
    torch.testing.assert_close(changed.inputs["photo"], batch.inputs["photo"].flip(-1))
    torch.testing.assert_close(changed.masks["photo"], shown.flip(-1))


def test_a_mask_of_rows_stays():
    there = torch.tensor([True, False, True, True])
    batch = Batch(inputs={"photo": pictures()}, masks={"photo": there})
    assert Augmentation(FLIP)(batch).masks["photo"] is there


def scenes(rows: int = 40, side: int = 8) -> Batch:
    """Pictures, and depths that stand where their pictures do, with holes."""
    photo = pictures(rows, side)
    depth = photo[:, :1].float() / 8
    known = torch.rand(rows, side, side) < 0.8
    return Batch(inputs={"photo": photo, "depth": depth}, masks={"depth": known})


def test_what_sees_one_scene_changes_together():
    batch = scenes()
    wanted = {"RandomHorizontalFlip": {}, "RandomVerticalFlip": {}}
    changed = Augmentation({"photo+depth": wanted})(batch)
    assert (changed.inputs["photo"] != batch.inputs["photo"]).any()
    torch.testing.assert_close(
        changed.inputs["depth"], changed.inputs["photo"][:, :1].float() / 8, rtol=0, atol=0
    )
    apart = Augmentation({"photo": wanted, "depth": wanted})(batch)
    assert (apart.inputs["depth"] != apart.inputs["photo"][:, :1].float() / 8).any()


def test_a_map_keeps_its_numbers_and_takes_its_holes_along():
    batch = scenes()
    wanted = {"ColorJitter": {"brightness": 0.5}, "RandomResizedCrop": {"size": 8, "scale": [0.3, 0.6]}}
    changed = Augmentation({"photo+depth": wanted})(batch)
    for row in range(len(batch)):
        before = set(batch.inputs["depth"][row].unique().tolist())
        assert set(changed.inputs["depth"][row].unique().tolist()) <= before
    assert changed.masks["depth"].dtype == torch.bool
    marked = scenes()
    marked.inputs["depth"][:] = marked.masks["depth"][:, None].float()
    moved = Augmentation({"depth": {"RandomResizedCrop": {"size": 8}}})(marked)
    torch.testing.assert_close(moved.inputs["depth"][:, 0].bool(), moved.masks["depth"])


def test_a_modality_is_named_once():
    with pytest.raises(OptionError, match="each modality once, got 'photo' twice"):
        Augmentation({"photo": FLIP["photo"], "photo+depth": FLIP["photo"]})


def test_the_same_generator_gives_the_same_pictures():
    batch, found = Batch(inputs={"photo": pictures()}), []
    change = Augmentation({"photo": {"ColorJitter": {"hue": 0.5}, "RandomResizedCrop": {"size": 8}}})
    for _ in range(2):
        torch.manual_seed(3)
        found.append(change(batch).inputs["photo"])
    torch.testing.assert_close(*found, rtol=0, atol=0)


def test_without_settings_the_batch_stays():
    batch = Batch(inputs={"x": torch.ones(2, 3)})
    assert Augmentation({})(batch).inputs == batch.inputs


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"photo": {"RandomHorizontalFlop": {}}},
            "got 'RandomHorizontalFlop'. Did you mean 'RandomHorizontalFlip'",
        ),
        ({"photo": {"Transform": {}}}, "must name transforms of torchvision, got 'Transform'"),
        (
            {"photo": {"RandomHorizontalFlip": {"q": 1}}},
            "must give RandomHorizontalFlip the options it takes",
        ),
        ({"photo": {"RandomResizedCrop": {}}}, "must give RandomResizedCrop the options it takes"),
    ],
)
def test_unknown_transforms_and_options_are_refused(settings, message):
    with pytest.raises(OptionError, match=message):
        Augmentation(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"photos": FLIP["photo"]}, "must name modalities, .*got 'photos'. Did you mean 'photo'"),
        (
            {"text": FLIP["photo"]},
            r"must name pictures in bytes or maps of numbers.*got \[4, 2\] of float32 of 'text'",
        ),
        (
            {"photo": {"RandomResizedCrop": {"size": 5}}},
            r"as large as it is, \[4, 3, 8, 8\] of uint8, got \[4, 3, 5, 5\]",
        ),
        ({"photo": {"CenterCrop": {"size": [8, 4]}}}, r"got \[4, 3, 8, 4\] of uint8 of 'photo'"),
    ],
)
def test_rows_that_do_not_fit_are_refused(settings, message):
    batch = Batch(inputs={"photo": pictures(), "text": torch.ones(4, 2)})
    with pytest.raises(OptionError, match=message):
        Augmentation(settings)(batch)


class Left(nn.Module):
    """Tells on which side a picture is light."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs, masks=None, *, trace=None):
        photo = inputs["photo"].float().mean((1, 2)) / 128 - 1
        return self.linear(torch.stack([photo[:, :4].mean(1), photo[:, 4:].mean(1)], 1))


@pytest.fixture
def sides():
    """Pictures with a light side, and which it is."""
    side = torch.arange(64) % 2
    photo = torch.zeros(64, 3, 8, 8, dtype=torch.uint8)
    photo[side == 0, :, :, :4] = 255
    photo[side == 1, :, :, 4:] = 255
    return Batch(inputs={"photo": photo}, target=side)


TASK = Classification(["left", "right"])
CONFIG = FitConfig(lr=0.1, max_epochs=10, patience=10)


def test_a_run_learns_from_changed_rows_and_is_validated_on_given_ones(sides):
    _, learnt = fit(Left, sides, sides, TASK, CONFIG)
    _, turned = fit(Left, sides, sides, TASK, replace(CONFIG, augment=FLIP))
    assert learnt.curve[-1][1] < 0.2
    assert turned.curve[-1][0] < 0.2  # of pictures that all were turned round
    assert turned.curve[-1][1] > 1.5


def test_both_loops_change_rows_alike(sides, tmp_path):
    config = replace(CONFIG, max_epochs=3, batch_size=10, augment={"photo": {"RandomHorizontalFlip": {}}})
    plain, _ = fit(Left, sides, sides, TASK, config)
    trainer = TrainerConfig(accelerator="cpu")
    other, _ = fit_with_trainer(Left, sides, sides, TASK, config, trainer=trainer, folder=tmp_path)
    bare, _ = fit(Left, sides, sides, TASK, replace(config, augment={}))
    assert plain.linear.weight.equal(other.linear.weight)
    assert not plain.linear.weight.equal(bare.linear.weight)


def labelled(rows: int = 8, side: int = 6) -> Batch:
    """Pictures, maps and labels in which each pixel has a number of its own."""
    number = torch.arange(side * side, dtype=torch.uint8).view(1, side, side).repeat(rows, 1, 1)
    return Batch(
        inputs={"rgb": number[:, None].repeat(1, 3, 1, 1), "depth": number[:, None].float()},
        masks={"rgb": torch.ones(rows).bool(), "depth": torch.ones(rows, side, side).bool()},
        target=number.clone(),
    )


def test_labels_go_where_pictures_go():
    torch.manual_seed(0)
    batch = labelled(32)
    changed = Augmentation({"rgb+depth": {"RandomHorizontalFlip": {}, "RandomCrop": {"size": 4}}})(batch)
    assert changed.target.shape == (32, 4, 4)
    torch.testing.assert_close(changed.inputs["rgb"][:, 0], changed.target)
    torch.testing.assert_close(changed.inputs["depth"][:, 0], changed.target.float())
    assert len({tuple(row.flatten().tolist()) for row in changed.target}) > 8


def test_what_a_crop_adds_does_not_count():
    torch.manual_seed(0)
    crop = {"RandomCrop": {"size": 8, "pad_if_needed": True}}
    changed = Augmentation({"rgb+depth": crop, "photo": {}})(labelled())
    added = changed.target == 255
    assert added.sum() == 8 * (64 - 36)
    torch.testing.assert_close(~added, changed.masks["depth"])
    assert not changed.inputs["depth"][:, 0][added].any()
    batch = labelled()
    batch.target[:, :2] = 255
    turned = Augmentation({"rgb+depth": {"RandomVerticalFlip": {"p": 1.0}}})(batch)
    assert (turned.target[:, 4:] == 255).all()


def test_pictures_to_make_go_along_and_what_a_crop_adds_to_them_is_not_known():
    torch.manual_seed(0)
    batch = labelled()
    batch = replace(batch, target=batch.inputs["depth"].repeat(1, 2, 1, 1))
    batch.target[:, :, 0, 0] = torch.nan
    crop = {"RandomHorizontalFlip": {}, "RandomCrop": {"size": 8, "pad_if_needed": True}}
    changed = Augmentation({"*": crop})(batch)
    known = ~changed.target.isnan()
    assert known.sum() == 8 * 2 * 35
    torch.testing.assert_close(changed.inputs["depth"].repeat(1, 2, 1, 1)[known], changed.target[known])
    with pytest.raises(OptionError, match=r"at the target's pixels together, got \['rgb'\] without 'depth'"):
        Augmentation({"rgb": {"RandomHorizontalFlip": {"p": 1.0}}})(batch)


def test_colours_leave_labels_alone():
    batch = labelled()
    changed = Augmentation({"rgb": {"ColorJitter": {"brightness": [0.5, 0.5]}}})(batch)
    torch.testing.assert_close(changed.target, batch.target)
    assert not changed.inputs["rgb"].equal(batch.inputs["rgb"])


def test_what_would_part_labels_from_pictures_is_refused():
    message = r"together, got \['rgb'\] without 'depth'\. Name them all, rgb\+depth, or '\*'"
    with pytest.raises(OptionError, match=message):
        Augmentation({"rgb": {"RandomVerticalFlip": {"p": 1.0}}})(labelled())


def test_a_star_is_all_that_has_pixels():
    torch.manual_seed(0)
    batch = labelled()
    words = torch.ones(8, 2)
    with_words = replace(batch, inputs={**batch.inputs, "text": words})
    changed = Augmentation({"*": {"RandomCrop": {"size": 4}}})(with_words)
    torch.testing.assert_close(changed.inputs["rgb"][:, 0], changed.target)
    assert changed.inputs["text"] is words


def test_rows_of_several_sizes_are_refused_beside_labels_too():
    torch.manual_seed(0)
    wanted = {"rgb+depth": {"RandomResize": {"min_size": 3, "max_size": 9}}}
    with pytest.raises(OptionError, match=r"all rows of one size, \[8, 3, 6, 6\] of uint8, got \[3, "):
        Augmentation(wanted)(labelled())


def test_a_shade_of_grey_fills_pictures_and_no_maps():
    torch.manual_seed(0)
    crop = {"RandomCrop": {"size": 8, "pad_if_needed": True, "fill": 77}}
    changed = Augmentation({"rgb+depth": crop})(labelled())
    added = changed.target == 255
    assert (changed.inputs["rgb"].movedim(1, -1)[added] == 77).all()
    assert not changed.inputs["depth"][:, 0][added].any()
    torch.testing.assert_close(~added, changed.masks["depth"])


def test_what_a_published_system_does_to_a_scene_has_a_name():
    torch.manual_seed(0)
    batch = labelled(16)
    wanted = {"GeminiFusionScene": {"size": [5, 4], "jitter_p": 0, "blur_p": 0, "scale": [0.5, 1.0]}}
    changed = Augmentation({"rgb+depth": wanted})(batch)
    assert changed.inputs["rgb"].shape == (16, 3, 5, 4)
    counted = changed.target != 255
    assert 0 < counted.sum() < counted.numel()
    torch.testing.assert_close(changed.masks["depth"], counted)
    depth = changed.inputs["depth"][:, 0]
    torch.testing.assert_close(depth[counted], changed.target[counted].float())


def test_options_of_what_a_published_system_does_are_checked():
    with pytest.raises(OptionError, match=r"size must be two positive numbers"):
        Augmentation({"rgb": {"GeminiFusionScene": {"size": [4]}}})
    with pytest.raises(OptionError, match="must give GeminiFusionScene the options it takes"):
        Augmentation({"rgb": {"GeminiFusionScene": {"side": 4}}})
