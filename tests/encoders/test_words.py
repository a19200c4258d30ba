import pytest
import torch

from fuseloom.encoders.words import WordEncoder
from fuseloom.errors import ModalityError, OptionError


def word(number: int, letters: str) -> list[int]:
    return [number, 2, *letters.encode(), 3, *[0] * (6 - len(letters))]


def test_a_word_that_is_not_known_is_still_spelt() -> None:
    encoder = WordEncoder(5, dim=8).eval()
    cat, cats, dog = (torch.tensor([[word(0, letters)]]) for letters in ("cat", "cats", "dog"))
    (one, _), (near, _), (far, _) = (encoder.run_stage(0, words, None) for words in (cat, cats, dog))
    similar = torch.cosine_similarity(one, near, dim=-1)
    assert similar > torch.cosine_similarity(one, far, dim=-1)
    assert similar < 1


def test_a_word_is_what_it_is_among_the_others() -> None:
    encoder = WordEncoder(30, dim=8).eval()
    words = torch.tensor([[word(number, "x") for number in range(1, 12)]])
    other = words.clone()
    other[0, 5, 0] = 25
    with torch.no_grad():
        moved = (encoder(words)[0] - encoder(other)[0]).abs().sum(-1)[0]
    assert moved.all()
    assert moved[[4, 6]].min() > 3 * moved[[0, 10]].max()


def test_a_width_may_be_odd() -> None:
    assert WordEncoder(5, dim=7)(torch.tensor([[word(1, "x")]]))[0].shape == (1, 1, 7)


def test_in_training_words_are_sometimes_not_known() -> None:
    encoder = WordEncoder(5, dim=8, dropout=0.5)
    torch.nn.init.zeros_(encoder.stages[0].spelt.weight)
    torch.nn.init.ones_(encoder.stages[0].known.weight)
    with torch.no_grad():
        encoder.stages[0].known.weight[0] = torch.arange(8.0)
    seen = []
    encoder.stages[0].rest.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    encoder(torch.tensor([[word(3, "a")] * 200]))
    unknown = seen[0].std(-1).gt(0).float().mean()
    assert 0.35 < unknown < 0.65


@pytest.mark.parametrize("options", [{"max_n": 0}, {"num_buckets": 0}])
def test_sizes_below_one_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(OptionError, match="must be at least 1, got"):
        WordEncoder(5, **options)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ModalityError, match=r"must have shape \[B, W, 1 \+ L\].*got \(2, 3\)"):
        WordEncoder(5)(torch.zeros(2, 3, dtype=torch.long))
