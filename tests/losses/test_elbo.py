import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from fuseloom.errors import MaskError, ModalityError
from fuseloom.losses import (
    elbo_loss,
    kl_standard_normal,
    logit_loss,
    probability_loss,
    reconstruction_loss,
    squared_loss,
)

MASKS = {
    "text": torch.tensor([True, False, True, False]),
    "video": torch.tensor([[True, True, False], [False] * 3, [True] * 3, [False] * 3]),
}


@pytest.fixture
def originals() -> dict[str, Tensor]:
    return {"text": torch.rand(4, 5), "video": torch.rand(4, 3, 2)}


@pytest.fixture
def reconstructions(originals: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.rand_like(value) for name, value in originals.items()}


def test_the_divergence_is_that_of_torch_distributions() -> None:
    mean, log_variance = torch.randn(2, 5, 3)
    posterior = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros(5, 3), torch.ones(5, 3)), 1)
    torch.testing.assert_close(kl_standard_normal(mean, log_variance), kl_divergence(posterior, prior))


def test_the_divergence_is_exact_next_to_the_prior() -> None:
    tiny = torch.tensor([[1e-3]])
    expected = (np.expm1(np.float64(1e-3)) - 1e-3) / 2
    assert kl_standard_normal(torch.zeros(1, 1), tiny).item() == pytest.approx(expected, rel=1e-3)


def test_the_bound_is_below_the_evidence_and_meets_it_at_the_posterior() -> None:
    # x | z ~ N(z, 1), z ~ N(0, 1): the posterior is N(x / 2, 1 / 2) and the evidence N(x; 0, 2).
    x = torch.tensor([[0.7], [-1.9]])
    evidence = Normal(0.0, 2**0.5).log_prob(x).mean()

    def bound(mean: Tensor, variance: Tensor) -> Tensor:
        expected = ((x - mean).square() + variance) / 2 + np.log(2 * np.pi) / 2
        return -elbo_loss(mean, variance.log(), reconstruction=expected[:, 0])

    torch.testing.assert_close(bound(x / 2, torch.full_like(x, 0.5)), evidence)
    assert bound(x / 2 + 0.3, torch.full_like(x, 0.5)) < evidence
    assert bound(x / 2, torch.full_like(x, 0.9)) < evidence


def test_the_divergence_is_annealed() -> None:
    mean, log_variance = torch.randn(2, 4, 3)
    reconstruction = torch.rand(4)
    expected = reconstruction.mean() + 0.3 * kl_standard_normal(mean, log_variance).mean()
    torch.testing.assert_close(
        elbo_loss(mean, log_variance, reconstruction=reconstruction, kl_weight=0.3), expected
    )


def test_each_loss_is_its_formula() -> None:
    p, x, logits = torch.rand(3, 4), torch.rand(3, 4), torch.randn(3, 4)
    q = logits.sigmoid()
    torch.testing.assert_close(squared_loss(p, x), (p - x).square().sum(1) / 4)
    for loss, q in ((probability_loss(p, x), p), (logit_loss(logits, x), logits.sigmoid())):
        torch.testing.assert_close(loss, -(x * q.log() + (1 - x) * (1 - q).log()).mean(1))
    torch.testing.assert_close(logit_loss(logits, x, faithful=True), logit_loss(logits, x.sigmoid()))


def test_huge_logits_stay_exact() -> None:
    assert logit_loss(torch.tensor([[200.0]]), torch.zeros(1, 1)).item() == 200


def test_terms_are_weighted_and_each_modality_has_its_loss(
    reconstructions: dict[str, Tensor], originals: dict[str, Tensor]
) -> None:
    out = reconstruction_loss(
        reconstructions,
        originals,
        loss={"text": squared_loss, "video": probability_loss},
        weights={"video": 0.25},
    )
    text = squared_loss(reconstructions["text"], originals["text"])
    video = probability_loss(reconstructions["video"], originals["video"]).mean(1)
    torch.testing.assert_close(out, text + 0.25 * video)


@pytest.mark.parametrize("loss", [squared_loss, probability_loss, logit_loss])
def test_what_is_masked_adds_nothing_and_gets_no_gradient(
    reconstructions: dict[str, Tensor], originals: dict[str, Tensor], loss: object
) -> None:
    given = {
        name: value.masked_fill(~MASKS[name][..., None], torch.nan).requires_grad_()
        for name, value in reconstructions.items()
    }
    dirty = {name: value.masked_fill(~MASKS[name][..., None], torch.nan) for name, value in originals.items()}
    out = reconstruction_loss(given, dirty, loss=loss, masks=MASKS)
    expected = torch.zeros(4)
    for b in range(4):
        for name, mask in MASKS.items():
            if mask[b].any():
                kept = [values[name][b, ...].reshape(-1, values[name].shape[-1]) for values in (given, dirty)]
                expected[b] += loss(*(rows[mask[b].reshape(-1)] for rows in kept)).mean()
    torch.testing.assert_close(out, expected)
    assert out[1] == 0
    out.sum().backward()
    for name, value in given.items():
        assert value.grad is not None
        assert value.grad.isfinite().all()
        assert value.grad.abs().sum(-1).gt(0).equal(MASKS[name])


def test_a_full_mask_is_no_mask(reconstructions: dict[str, Tensor], originals: dict[str, Tensor]) -> None:
    full = {name: torch.ones_like(mask) for name, mask in MASKS.items()}
    torch.testing.assert_close(
        reconstruction_loss(reconstructions, originals, masks=full),
        reconstruction_loss(reconstructions, originals),
    )


@pytest.mark.compile
def test_the_whole_objective_compiles(
    reconstructions: dict[str, Tensor], originals: dict[str, Tensor]
) -> None:
    def objective(mean: Tensor, log_variance: Tensor) -> Tensor:
        terms = reconstruction_loss(reconstructions, originals, loss=logit_loss, masks=MASKS)
        return elbo_loss(mean, log_variance, reconstruction=terms)

    mean, log_variance = torch.randn(2, 4, 3)
    compiled = torch.compile(objective, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(mean, log_variance), objective(mean, log_variance))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"originals": {"text": torch.ones(2, 3)}}, r"of the modalities \['text'\], got \['text', 'video'\]"),
        ({"reconstructions": {}, "originals": {}}, r"of the modalities \[\], got \[\]"),
        (
            {"reconstructions": {"text": torch.ones(2, 3), "video": torch.ones(2, 4)}},
            r"reconstruction of 'video' must be .* as the original, \[2, 5\], got \[2, 4\]",
        ),
        ({"loss": {"text": squared_loss}}, "loss must be given for every modality, got none for 'video'"),
        ({"weights": {"vidoe": 1.0}}, "weights must name .* got 'vidoe'. Did you mean 'video'"),
        ({"masks": {"audio": torch.ones(2, dtype=torch.bool)}}, "masks must name .* got 'audio'"),
    ],
)
def test_modalities_that_do_not_fit_are_refused(change: dict[str, object], message: str) -> None:
    values = {"text": torch.ones(2, 3), "video": torch.ones(2, 5)}
    with pytest.raises(ModalityError, match=message):
        reconstruction_loss(**{"reconstructions": values, "originals": values} | change)


@pytest.mark.parametrize("mask", [torch.ones(2), torch.ones(2, 1, dtype=torch.bool)])
def test_a_mask_that_does_not_fit_is_refused(mask: Tensor) -> None:
    values = {"text": torch.ones(2, 3)}
    with pytest.raises(MaskError, match=r"Mask of 'text' must be bool of shape \[2\] \(True = real\), got"):
        reconstruction_loss(values, values, masks={"text": mask})


def test_pieces_of_different_batches_are_refused() -> None:
    with pytest.raises(
        ModalityError, match=r"\[B, Z\], \[B, Z\] and \[B\], got \[2, 3\], \[2, 3\] and \[4\]"
    ):
        elbo_loss(torch.zeros(2, 3), torch.zeros(2, 3), reconstruction=torch.zeros(4))
