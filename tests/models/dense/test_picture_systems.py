"""Systems that make pictures by name, and what stands between them and a task."""

import pytest
import torch

from fuseloom.errors import ModalityError, OptionError, UnknownNameError
from fuseloom.losses.adversarial import adversarial_loss, judgement_loss
from fuseloom.models import ModelConfig, build_model
from fuseloom.models.dense_systems import build_dense, named_dense_system
from fuseloom.models.picture_systems import PicturePredictor, PictureSystem
from fuseloom.registry import list_names, lookup
from fuseloom.tasks.classification import Classification
from fuseloom.tasks.segmentation import Segmentation
from fuseloom.tasks.translation import Translation
from fuseloom.train.recipe import list_recipes, read_recipe
from fuseloom.types import Batch, Trace

SIZE = {"dims": [8, 16], "depths": [1, 1], "num_heads": [1, 2], "reductions": [2, 1], "stem": [3, 2]}
SMALL = {
    "cen_translation": {"dim": 4, "depth": 4},
    "tokenfusion_translation": {"size": SIZE, "drop_path": 0.0},
}
OPTIONS = {"pixel_attention": {"num_heads": 2}}
TASK = Translation(3, size=(32, 48), low=0, high=255)
ENCODERS = {"rgb": {"kind": "image", "channels": 3}, "depth": {"kind": "map", "channels": 1}}


def config(name: str, **options: object) -> ModelConfig:
    return ModelConfig(
        encoders=ENCODERS, fusion=name, dropout=0.0, options={name: {**SMALL[name], **options}}
    )


def scenes(batch: int = 2) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    rgb = torch.randint(0, 256, (batch, 3, 32, 48), generator=generator).to(torch.uint8)
    return {"rgb": rgb, "depth": torch.randn(batch, 1, 32, 48, generator=generator)}


def real(batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_every_system_is_tested() -> None:
    assert list_names(kind="picture") == sorted(SMALL)
    assert all(lookup(name, kind="picture").card.paper for name in SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_streams_learn_from_the_picture_and_from_a_judge_that_learns_with_them(name: str) -> None:
    torch.manual_seed(0)
    model = build_dense(config(name), TASK).train()
    assert isinstance(model, PicturePredictor)
    trace, target = Trace(), real()
    target[0, :, :4] = torch.nan
    outputs = model(scenes(), target=target, trace=trace)
    assert outputs.shape == (2, 3, 3, 32, 48)
    assert outputs.abs().max() <= 1
    (TASK.loss(outputs, target) + trace.total_loss()).backward()
    trained = {name: one for name, one in model.named_parameters() if one.requires_grad}
    assert all(one.grad is not None and one.grad.isfinite().all() for one in trained.values())
    assert any(one.grad.any() for name, one in trained.items() if name.startswith("judge."))
    model.eval()
    assert model(scenes()).shape == (2, 3, 32, 48)
    torch.testing.assert_close(model(scenes(), target=target), model(scenes()))


def test_what_the_judge_files_is_the_published_losses_of_what_it_sees() -> None:
    torch.manual_seed(0)
    model = build_dense(config("cen_translation", adversarial_weight=0.5, exchange=""), TASK).train()
    trace, target = Trace(), real()
    outputs = model(scenes(), target=target, trace=trace)
    rgb = (scenes()["rgb"].float() - 127.5) / 127.5
    maps = {"rgb": rgb, "depth": scenes()["depth"].expand(-1, 3, -1, -1)}
    made = {"rgb": outputs[:, 0], "depth": outputs[:, 1]}
    of_made = model.judge(maps, made)
    of_real = model.judge(maps, dict.fromkeys(made, target))
    torch.testing.assert_close(trace.losses["judgement"], judgement_loss(of_real, of_made))
    torch.testing.assert_close(trace.losses["adversarial"], 0.5 * adversarial_loss(of_made))
    of_judge = torch.autograd.grad(
        trace.losses["adversarial"], [*model.judge.parameters()], allow_unused=True
    )
    assert set(of_judge) == {None}, "the judge must not learn to be deceived"
    of_streams = torch.autograd.grad(
        trace.losses["judgement"], [*model.model.parameters()], allow_unused=True
    )
    assert set(of_streams) == {None}, "the streams must not learn to be found out"


@pytest.mark.parametrize("exchange", ["", "channel_exchange", "token_exchange", "pixel_attention"])
@pytest.mark.parametrize("name", SMALL)
def test_any_exchange_stands_in_any_system(name: str, exchange: str) -> None:
    torch.manual_seed(0)
    options = {"norm": None} if (name, exchange) == ("cen_translation", "channel_exchange") else {}
    options |= OPTIONS.get(exchange, {})
    model = build_dense(config(name, exchange=exchange, exchange_options=options), TASK).eval()
    together = model(scenes())
    there = torch.tensor([True, False])
    part = model(scenes(), {"depth": there[:, None, None].expand(2, 32, 48)})
    torch.testing.assert_close(part[0], together[0], atol=1e-5, rtol=1e-4)
    holed = scenes()
    holed["depth"][1] = torch.nan
    torch.testing.assert_close(model(holed, {"depth": there[:, None, None].expand(2, 32, 48)}), part)


def test_pictures_too_small_for_a_judge_of_patches_are_refused() -> None:
    model = build_dense(config("cen_translation", depth=2), TASK).train()
    few = {name: value[..., :16, :16] for name, value in scenes().items()}
    with pytest.raises(ModalityError, match=r"24 pixels or more .* got 16 x 16\. Enlarge them"):
        model(few, target=real()[..., :16, :16], trace=Trace())


def test_without_a_judge_or_a_target_nothing_is_judged() -> None:
    model = build_dense(config("cen_translation", judge=False), TASK).train()
    assert model.judge is None
    trace = Trace()
    model(scenes(), target=real(), trace=trace)
    assert "judgement" not in trace.losses
    judged = build_dense(config("cen_translation"), TASK).train()
    trace = Trace()
    judged(scenes(), trace=trace)
    assert "judgement" not in trace.losses


def test_a_served_model_has_no_judge_and_the_same_pictures() -> None:
    own = config("tokenfusion_translation")
    model, system = build_dense(own, TASK).eval(), named_dense_system(own)
    assert isinstance(system, PictureSystem)
    before = model(scenes())
    served, of_served = system.served(model, own)
    again = build_dense(of_served, TASK).eval()
    again.load_state_dict(served.state_dict())
    torch.testing.assert_close(again(scenes()), before)
    assert not any(name.startswith("judge") for name in served.state_dict())


def test_a_batch_gives_its_target_to_who_reads_it() -> None:
    batch = Batch(inputs=scenes(), target=real())
    assert batch.reads(PicturePredictor.reads)["target"] is batch.target
    assert batch.reads([]) == {}
    assert Batch(inputs=scenes()).reads(["target"]) == {}


def test_pictures_and_labels_are_not_mixed_up() -> None:
    with pytest.raises(OptionError, match=r"got 'cen' for translation\. Known: cen_translation, tokenf"):
        build_dense(ModelConfig(encoders=ENCODERS, fusion="cen"), TASK)
    with pytest.raises(OptionError, match=r"got 'cen_translation' for segmentation\. Known: cen, gem"):
        build_dense(config("cen_translation"), Segmentation(["a", "b"], size=(32, 48)))
    with pytest.raises(OptionError, match="target of label maps, or of pictures"):
        build_model(config("cen_translation"), Classification(["a", "b"]))
    with pytest.raises(UnknownNameError, match="channel_exchange"):
        build_dense(config("cen_translation", exchange="chanel_exchange"), TASK)
    with pytest.raises(OptionError, match="has no option 'deph'"):
        build_dense(config("cen_translation", deph=3), TASK)


def test_recipes_of_pictures_build_their_systems() -> None:
    found = [name for name in list_recipes() if read_recipe(name).model.fusion in list_names(kind="picture")]
    assert {read_recipe(name).model.fusion for name in found} == set(SMALL)
    for name in found:
        recipe = read_recipe(name)
        own = ModelConfig(
            encoders={name: {"kind": "map", "channels": 1} for name in recipe.data.modalities},
            fusion=recipe.model.fusion,
            options=recipe.model.options,
        )
        assert isinstance(named_dense_system(own), PictureSystem)
