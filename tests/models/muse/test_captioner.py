from copy import deepcopy
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from fuseloom.errors import MaskError, ModalityError, OptionError
from fuseloom.losses.captions import caption_loss, doubly_stochastic_loss
from fuseloom.models.muse.captioner import Captioner, Marks, convert_captioner, official_captioner
from fuseloom.nn.beam_search import Stop, beam_search

DIM, PATCHES, WORDS = 6, 4, 9
LENGTHS = [3, 7, 5, 0]
BATCH, LONGEST = len(LENGTHS), max(LENGTHS)


@pytest.fixture
def captioner() -> Captioner:
    return small().eval()


def small(**options: Any) -> Captioner:
    widths = {"attention_dim": 5, "embedding_dim": 3, "hidden_dim": 8}
    model = Captioner(DIM, WORDS, **{**widths, **options})
    for parameter in model.parameters():  # so that no zero hides a path
        nn.init.normal_(parameter, std=0.6)
    return model


@pytest.fixture
def rows() -> dict[str, Tensor]:
    """Images, captions of several lengths, one of none, and patches that are not real, of one image all."""
    mask = torch.arange(LONGEST) < torch.tensor(LENGTHS)[:, None]
    captions = torch.randint(3, WORDS, (BATCH, LONGEST))
    captions[:, 0] = 1
    for row, length in enumerate(LENGTHS):
        captions[row, max(length - 1, 0) :] = 2 if length else 0
    real = torch.tensor([[True] * 4, [True, False, True, False], [False] * 4, [True] * 4])
    return {
        "image": torch.randn(BATCH, PATCHES, DIM),
        "captions": captions,
        "mask": mask,
        "image_mask": real,
    }


def plain(model: Captioner, image: Tensor, captions: Tensor, dropout: float = 0.0) -> tuple[Tensor, Tensor]:
    """One row, step by step, as the paper says it: ``[P, D]`` and ``[T]``."""
    mean = image.mean(0) if len(image) else torch.zeros(DIM)
    state = model.first_hidden(mean), model.first_cell(mean)
    logits, attention = [], []
    for word in captions[:-1]:
        scores = model.score((model.key(image) + model.query(state[0])).relu())[:, 0]
        weights = scores.softmax(0)
        seen = model.gate(state[0]).sigmoid() * (weights @ image)
        state = model.cell(torch.cat([model.embedding(word), seen])[None], (state[0][None], state[1][None]))
        state = state[0][0], state[1][0]
        logits.append(model.words(state[0]))
        attention.append(weights)
    return torch.stack(logits), torch.stack(attention)


def test_it_is_the_recursion_of_the_paper_row_by_row(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    logits, attention = captioner(**rows)
    for row, length in enumerate(LENGTHS[:3]):
        real = rows["image_mask"][row]
        expected = plain(captioner, rows["image"][row][real], rows["captions"][row, :length])
        torch.testing.assert_close(logits[row, : length - 1], expected[0])
        torch.testing.assert_close(attention[row, : length - 1][:, real], expected[1])
    ended = ~rows["mask"][:, 1:]
    assert not logits[ended].any()
    assert not attention[ended].any()
    assert not attention[~rows["image_mask"][:, None].expand_as(attention)].any()


def test_gradients_are_those_of_the_recursion(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    image = rows["image"].requires_grad_()
    sources = [image, *captioner.parameters()]
    found = torch.autograd.grad(captioner.loss(**rows), sources)
    pairs, gaps = [], []
    for row, length in enumerate(LENGTHS[:3]):
        real, words = rows["image_mask"][row], rows["captions"][row, :length]
        logits, attention = plain(captioner, image[row][real], words)
        pairs.append(F.cross_entropy(logits, words[1:], reduction="none"))
        gaps.append((1 - attention.sum(0)).square())
    expected = torch.autograd.grad(torch.cat(pairs).mean() + torch.cat(gaps).mean(), sources)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_without_masks_all_is_real(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    full = {name: torch.ones_like(rows[name]) for name in ("mask", "image_mask")}
    for ours, theirs in zip(
        captioner(rows["image"], rows["captions"]), captioner(**{**rows, **full}), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_what_is_not_real_is_not_read(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    noisy = dict(rows)
    noisy["captions"] = rows["captions"].masked_fill(~rows["mask"], 10_000)
    noisy["image"] = rows["image"].masked_fill(~rows["image_mask"][..., None], torch.nan).requires_grad_()
    for ours, theirs in zip(captioner(**noisy), captioner(**rows), strict=True):
        assert ours.equal(theirs)
    gradients = torch.autograd.grad(captioner.loss(**noisy), [noisy["image"], *captioner.parameters()])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert not gradients[0][~rows["image_mask"]].any()


def test_rows_keep_their_order_and_do_not_meet(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    order = torch.tensor([2, 0, 3, 1])
    shuffled = captioner(**{name: value[order] for name, value in rows.items()})
    alone = captioner(**{name: value[1:2] for name, value in rows.items()})
    for all_rows, moved, one in zip(captioner(**rows), shuffled, alone, strict=True):
        torch.testing.assert_close(moved, all_rows[order])
        torch.testing.assert_close(one, all_rows[1:2])


def test_the_loss_is_its_two_parts(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    logits, attention = captioner(**rows)
    words = caption_loss(logits, rows["captions"], rows["mask"])
    spread = doubly_stochastic_loss(attention, rows["mask"], rows["image_mask"])
    torch.testing.assert_close(captioner.loss(**rows), words + spread)
    torch.testing.assert_close(captioner.loss(**rows, attention_weight=0.25), words + 0.25 * spread)


def test_a_batch_of_nothing_has_no_loss_and_finite_gradients(captioner: Captioner) -> None:
    image = torch.randn(2, 3, DIM, requires_grad=True)
    nothing = torch.zeros(2, 4, dtype=torch.bool)
    loss = captioner.loss(image, nothing.long(), nothing, torch.zeros(2, 3, dtype=torch.bool))
    assert loss == 0
    assert all(not g.any() for g in torch.autograd.grad(loss, [image, *captioner.parameters()]))


def test_dropout_acts_in_training_on_what_becomes_words(rows: dict[str, Tensor]) -> None:
    captioner = small(dropout=0.5)
    with torch.no_grad():
        captioner.words.weight.copy_(torch.eye(WORDS, 8))
        captioner.words.bias.zero_()
        hidden = captioner.eval()(**rows)[0][..., :8]
        dropped = captioner.train()(**rows)[0][..., :8]
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * hidden[kept])
    real = rows["mask"][:, 1:]
    assert 0.3 < kept[real].float().mean() < 0.7


def test_the_published_size_and_start() -> None:
    with torch.device("meta"):
        model = Captioner(768, 4736)
        out = model(torch.empty(2, 64, 768), torch.empty(2, 5, dtype=torch.long))
    assert [tuple(one.shape) for one in out] == [(2, 4, 4736), (2, 4, 64)]
    assert sum(parameter.numel() for parameter in model.parameters()) == 10_366_849 - 1
    started = Captioner(8, 400)
    for values in (started.embedding.weight, started.words.weight):
        assert 0.099 < values.abs().max() <= 0.1
        assert abs(values.std() - 0.2 / 12**0.5) < 2e-3
    assert not started.words.bias.any()


def test_it_learns_to_say_what_the_image_shows() -> None:
    """Four patches, one of them lit: its number is said behind two words that are always there."""
    torch.manual_seed(0)
    model = Captioner(4, WORDS, attention_dim=16, embedding_dim=16, hidden_dim=32, dropout=0.0)
    lit = torch.arange(64) % 4
    image = torch.zeros(64, 3, 4)
    image[torch.arange(64), torch.arange(64) % 3, lit] = 1
    captions = torch.stack(
        [torch.full_like(lit, 1), torch.full_like(lit, 3), lit + 4, torch.full_like(lit, 2)], 1
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        model.loss(image, captions, attention_weight=0.0).backward()
        optimizer.step()
    said = model.eval().search(image)
    assert said.tokens[:, 0].equal(captions[:, 1:])
    assert said.scores.exp().min() > 0.9


def test_a_wide_search_finds_the_likeliest_of_all_captions(
    captioner: Captioner, rows: dict[str, Tensor]
) -> None:
    """Over three words at most, of those that are not banned."""
    image, real = rows["image"], rows["image_mask"]
    words = [4, 6, 8]
    every = [(*body, 2) for n in range(3) for body in product(words, repeat=n)]
    every += list(product(words, repeat=3))
    banned = sorted(set(range(WORDS)) - {*words, 2})
    found = captioner.search(image, real, width=len(every), max_length=3, banned=banned)
    for row in range(BATCH):
        scores = {one: likelihood(captioner, image[row][real[row]], one, banned) for one in every}
        best = sorted(every, key=scores.__getitem__, reverse=True)
        got = zip(found.tokens[row], found.mask[row], strict=True)
        assert [tuple(tokens[mask].tolist()) for tokens, mask in got] == best
        torch.testing.assert_close(found.scores[row], torch.tensor([scores[one] for one in best]))
    assert not found.tokens[~found.mask].any()


def likelihood(captioner: Captioner, image: Tensor, words: tuple[int, ...], banned: list[int]) -> float:
    logits, _ = plain(captioner, image, torch.tensor([1, *words]))
    log_prob = logits.index_fill(1, torch.tensor(banned), -torch.inf).log_softmax(1)
    return log_prob[torch.arange(len(words)), torch.tensor(words)].sum().item()


def test_a_found_caption_has_the_likelihood_and_attention_of_a_given_one(
    captioner: Captioner, rows: dict[str, Tensor]
) -> None:
    image, real = rows["image"], rows["image_mask"]
    for found in (
        captioner.search(image, real, width=3, max_length=6),
        captioner.sample(image, real, count=3, max_length=6, temperature=1.3),
    ):
        for row, beam in product(range(BATCH), range(3)):
            words = found.tokens[row, beam][found.mask[row, beam]]
            told = torch.cat([torch.tensor([1]), words])
            logits, attention = captioner(image[row : row + 1], told[None], None, real[row : row + 1])
            never = logits[0].index_fill(1, torch.tensor([0, 1]), -torch.inf).log_softmax(1)
            expected = never.gather(1, words[:, None]).sum()
            torch.testing.assert_close(found.scores[row, beam], expected.detach())
            torch.testing.assert_close(found.records[row, beam, : len(words)], attention[0].detach())


def test_marks_of_padding_and_start_are_never_said(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    with torch.no_grad():
        captioner.words.bias[:2] = 50
    drawn = captioner.sample(rows["image"], count=50, max_length=5, banned=[3])
    assert set(drawn.tokens[drawn.mask].tolist()) == {2, 4, 5, 6, 7, 8}
    said = captioner.search(rows["image"], max_length=5, width=4, banned=[3])
    assert not set(said.tokens[said.mask].tolist()) & {0, 1, 3}


def test_other_marks_are_used(rows: dict[str, Tensor]) -> None:
    captioner = small(marks=Marks(pad=8, start=7, end=6)).eval()
    found = captioner.sample(rows["image"], count=40, max_length=6)
    assert (found.tokens[~found.mask] == 8).all()
    last = found.tokens.gather(2, found.mask.sum(2, keepdim=True) - 1)[..., 0]
    ended = found.mask.sum(2) < found.mask.shape[2]
    assert ended.any()
    assert (last[ended] == 6).all()
    first = captioner(rows["image"], torch.full((BATCH, 2), 7))[0][:, 0]
    greedy = captioner.search(rows["image"], max_length=1).tokens[:, 0, 0]
    assert greedy.equal(first.index_fill(1, torch.tensor([7, 8]), -torch.inf).argmax(1))


def test_one_mark_may_stand_for_all(rows: dict[str, Tensor]) -> None:
    captioner = small(marks=Marks(pad=5, start=5, end=5)).eval()
    with torch.no_grad():
        captioner.words.bias[5] = 50
    found = captioner.search(rows["image"], width=2, max_length=4)
    assert found.mask[:, 0].sum(1).tolist() == [1] * BATCH
    assert (found.tokens[:, 0] == 5).all()


def test_captions_are_made_without_dropout_or_gradient_and_change_nothing(rows: dict[str, Tensor]) -> None:
    captioner = small(dropout=0.9).train()
    before = deepcopy(captioner.state_dict())
    first, again = (captioner.search(rows["image"], width=2) for _ in range(2))
    assert first.scores.equal(again.scores)
    assert captioner.eval().search(rows["image"], width=2).scores.equal(first.scores)
    assert not first.scores.requires_grad
    assert all(before[name].equal(value) for name, value in captioner.state_dict().items())


def test_a_search_can_run_without_reading_a_value(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    lazy = captioner.search(rows["image"], width=2, max_length=20, early=False)
    quick = captioner.search(rows["image"], width=2, max_length=20)
    steps = quick.tokens.shape[2]
    assert lazy.tokens.shape[2] == 20
    assert lazy.tokens[..., :steps].equal(quick.tokens)
    with torch.device("meta"):
        step, state, start = Captioner(DIM, WORDS).begin(torch.empty(2, 3, DIM))
        found = beam_search(step, state, start, Stop(end=2, max_length=5, early=False), width=3)
    assert (found.tokens.device.type, found.records.shape) == ("meta", (2, 3, 5, 3))


def test_bfloat16_follows_and_losses_are_single(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    wide = captioner(**rows)[0]
    with torch.autocast("cpu", torch.bfloat16):
        low, looked = captioner(**rows)
        loss = captioner.loss(**rows)
    assert (low.dtype, looked.dtype, loss.dtype) == (torch.bfloat16, torch.float32, torch.float32)
    real = rows["mask"][:, 1:] & rows["image_mask"].any(1, keepdim=True)
    torch.testing.assert_close(looked.sum(2)[real], torch.ones(int(real.sum())))
    torch.testing.assert_close(low.float(), wide, atol=0.15, rtol=0.05)
    torch.testing.assert_close(loss, captioner.loss(**rows), atol=0.05, rtol=0.02)
    gradients = torch.autograd.grad(loss, list(captioner.parameters()))
    expected = torch.autograd.grad(captioner.loss(**rows), list(captioner.parameters()))
    for ours, theirs in zip(gradients, expected, strict=True):
        assert F.cosine_similarity(ours.flatten(), theirs.flatten(), dim=0) > 0.98
    half = deepcopy(captioner).bfloat16()
    halved = half(**{**rows, "image": rows["image"].bfloat16()})
    torch.testing.assert_close(halved[0].float(), wide, atol=0.2, rtol=0.05)
    assert (halved[0].dtype, halved[1].dtype) == (torch.bfloat16, torch.float32)
    said = half.search(rows["image"].bfloat16(), rows["image_mask"], width=2, max_length=4)
    assert said.scores.dtype == torch.float32


def test_double_precision_is_kept(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    double = captioner.double()
    logits, attention = double(**{**rows, "image": rows["image"].double()})
    assert (logits.dtype, attention.dtype) == (torch.float64, torch.float64)


@pytest.mark.compile
@pytest.mark.slow
def test_it_compiles_whole(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    captioner.train().dropout.p = 0.0
    short = {**rows, "captions": rows["captions"][:, :3], "mask": rows["mask"][:, :3]}
    compiled = torch.compile(captioner.loss, fullgraph=True, backend="aot_eager")
    losses = [loss(**short) for loss in (compiled, captioner.loss)]
    torch.testing.assert_close(*losses)
    pairs = (torch.autograd.grad(loss, list(captioner.parameters())) for loss in losses)
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.compile
@pytest.mark.slow
def test_it_exports_with_a_dynamic_batch(captioner: Captioner, rows: dict[str, Tensor]) -> None:
    batch = torch.export.Dim("batch", min=2)
    shapes = {name: {0: batch} for name in rows}
    program = torch.export.export(captioner, (), rows, dynamic_shapes=shapes).module()
    other = {name: torch.cat([value, value[:3]]) for name, value in rows.items()}
    for ours, theirs in zip(program(**other), captioner(**other), strict=True):
        torch.testing.assert_close(ours, theirs)


OFFICIAL = {
    "attention.encoder_att": (5, DIM),
    "attention.decoder_att": (5, 8),
    "attention.full_att": (1, 5),
    "init_h": (8, DIM),
    "init_c": (8, DIM),
    "f_beta": (DIM, 8),
    "fc": (WORDS, 8),
}


@pytest.fixture
def official() -> dict[str, Tensor]:
    state = {"embedding.weight": torch.randn(WORDS, 3)}
    for name, (rows, columns) in OFFICIAL.items():
        state |= {f"{name}.weight": torch.randn(rows, columns), f"{name}.bias": torch.randn(rows)}
    cell = nn.LSTMCell(3 + DIM, 8)
    return state | {f"decode_step.{name}": value.detach() for name, value in cell.named_parameters()}


def test_official_weights_become_ours_and_theirs_again(official: dict[str, Tensor]) -> None:
    model = small()
    model.load_state_dict(convert_captioner(official))
    assert model.query.weight.equal(official["attention.decoder_att.weight"])
    assert model.first_cell.bias.equal(official["init_c.bias"])
    back = official_captioner(model.state_dict())
    assert back.keys() == official.keys()
    assert back["attention.full_att.bias"].tolist() == [0]
    assert all(back[name].equal(official[name]) for name in official if name != "attention.full_att.bias")


def test_foreign_weights_are_refused(official: dict[str, Tensor]) -> None:
    with pytest.raises(
        OptionError, match=r"^The weights must be those of a captioner, got 'fd\.weight' among"
    ):
        convert_captioner({**official, "fd.weight": torch.zeros(1)})
    with pytest.raises(OptionError, match=r"got 'fc\.weight' among"):
        official_captioner({"fc.weight": torch.zeros(1)})


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (
            {"image": torch.ones(BATCH, DIM)},
            ModalityError,
            r"^image must be tokens \[B, P, 6\], got \[4, 6\]\.$",
        ),
        ({"image": torch.ones(BATCH, 4, 5)}, ModalityError, r"\[B, P, 6\], got \[4, 4, 5\]\.$"),
        (
            {"captions": torch.ones(BATCH, LONGEST)},
            ModalityError,
            r"^captions must be int64 \[4, T\], from .* got",
        ),
        (
            {"captions": torch.ones(3, LONGEST).long()},
            ModalityError,
            r"int64 \[4, T\].* got torch.int64 \[3, 7\]",
        ),
        ({"captions": torch.ones(BATCH, 1).long()}, ModalityError, r"got torch.int64 \[4, 1\]\.$"),
        (
            {"mask": torch.ones(BATCH, LONGEST)},
            MaskError,
            r"^mask must be bool of shape \[4, 7\] \(True = real\)",
        ),
        (
            {"image_mask": torch.ones(BATCH, 5).bool()},
            MaskError,
            r"^image_mask must be bool of shape \[4, 4\]",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    captioner: Captioner, rows: dict[str, Tensor], change: dict[str, Tensor], error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        captioner(**{**rows, **change})


def test_marks_and_bans_must_be_words(captioner: Captioner) -> None:
    with pytest.raises(
        OptionError, match=r"^marks must be among the 9 words, got Marks\(pad=0, start=9, end=2\)"
    ):
        small(marks=Marks(start=9))
    with pytest.raises(OptionError, match=r"^banned must be among the 9 words, got 12\.$"):
        captioner.search(torch.ones(1, 2, DIM), banned=[3, 12])
