import torch

from fuseloom import Batch
from fuseloom.train.fit import FitConfig, fit
from fuseloom.train.trainer import TrainerConfig, fit_with_trainer


def test_a_diverged_run_keeps_the_weights_it_began_with(problem, tmp_path):
    build, train, _, task = problem
    broken = Batch(
        inputs={name: value * torch.nan for name, value in train.inputs.items()}, target=train.target
    )
    config = FitConfig(patience=2, max_epochs=5)
    model, told = fit_with_trainer(
        build, broken, broken, task, config, trainer=TrainerConfig(accelerator="cpu"), folder=tmp_path
    )
    plain, also_told = fit(build, broken, broken, task, config)
    assert told.epochs == also_told.epochs == 2
    assert told.valid_loss == float("inf")
    assert all(value.equal(plain.state_dict()[name]) for name, value in model.state_dict().items())
