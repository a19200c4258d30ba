from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fuseloom.errors import OptionError
from fuseloom.nn.beam_search import Next, Sequences, Stop, beam_search, sample_sequences

WORDS, END, LONGEST = 4, 3, 3
STOP = Stop(end=END, max_length=LONGEST)
BATCH = 3


class Chain:
    """A model whose next token depends on the sample, the place and all tokens so far, through its state."""

    def __init__(self, *, words: int = WORDS, longest: int = LONGEST) -> None:
        self.words = words
        self.scores = 2 * torch.randn(BATCH, longest, words, words)
        self.drift = torch.randn(words)

    def state(self) -> tuple[Tensor, ...]:
        """Sample, place, and a sum over the tokens so far."""
        return torch.arange(BATCH), torch.zeros(BATCH, dtype=torch.long), torch.zeros(BATCH, 1)

    def __call__(self, tokens: Tensor, state: tuple[Tensor, ...]) -> Next:
        sample, place, memory = state
        memory = memory + self.drift[tokens][..., None]
        logits = self.scores[sample, place, tokens] * memory.cos()
        return Next(logits, (sample, place + 1, memory), torch.cat([memory, 1 + place[..., None]], -1))

    def log_prob(self, sample: int, sequence: tuple[int, ...]) -> float:
        """Token by token, without a batch."""
        state = tuple(one[sample : sample + 1, None] for one in self.state())
        last, total = 0, 0.0
        for token in sequence:
            logits, state, _ = self(torch.tensor([[last]]), state)
            total += float(logits[0, 0].log_softmax(-1)[token])
            last = token
        return total


def all_sequences(words: int = WORDS, longest: int = LONGEST) -> Iterator[tuple[int, ...]]:
    for length in range(1, longest + 1):
        for body in product([w for w in range(words) if w != END], repeat=length - 1):
            yield (*body, END)
    yield from product([w for w in range(words) if w != END], repeat=longest)


def found(result: Sequences, sample: int) -> list[tuple[int, ...]]:
    rows = zip(result.tokens[sample], result.mask[sample], strict=True)
    return [tuple(tokens[mask].tolist()) for tokens, mask in rows]


@pytest.fixture
def chain() -> Chain:
    return Chain()


@pytest.fixture
def start() -> Tensor:
    return torch.zeros(BATCH, dtype=torch.long)


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.5])
def test_a_wide_beam_is_all_sequences_in_order(chain: Chain, start: Tensor, penalty: float) -> None:
    every = list(all_sequences())
    assert len(every) == 40
    result = beam_search(chain, chain.state(), start, STOP, width=len(every), length_penalty=penalty)
    for sample in range(BATCH):
        scores = {one: chain.log_prob(sample, one) / len(one) ** penalty for one in every}
        best = sorted(every, key=scores.__getitem__, reverse=True)
        assert found(result, sample) == best
        torch.testing.assert_close(result.scores[sample], torch.tensor([scores[one] for one in best]))


def test_probabilities_of_all_sequences_sum_to_one(chain: Chain, start: Tensor) -> None:
    result = beam_search(chain, chain.state(), start, STOP, width=40)
    torch.testing.assert_close(result.scores.exp().sum(1), torch.ones(BATCH))


@pytest.mark.parametrize("penalty", [0.0, 1.0])
def test_a_width_of_one_is_greedy(start: Tensor, penalty: float) -> None:
    chain = Chain(words=7, longest=12)
    stop = Stop(end=END, max_length=12)
    result = beam_search(chain, chain.state(), start, stop, width=1, length_penalty=penalty)
    for sample in range(BATCH):
        state = tuple(one[sample : sample + 1, None] for one in chain.state())
        words = [0]
        while len(words) < 13 and words[-1] != END:
            logits, state, _ = chain(torch.tensor([[words[-1]]]), state)
            words.append(int(logits.argmax()))
        assert found(result, sample) == [tuple(words[1:])]


def test_a_beam_is_the_best_of_what_extends_it(start: Tensor) -> None:
    """Against lists of Python that are sorted and cut."""
    chain, stop, width = Chain(words=6, longest=8), Stop(end=END, max_length=8), 3
    result = beam_search(chain, chain.state(), start, stop, width=width)
    for sample in range(BATCH):
        beams: list[tuple[int, ...]] = [()]
        for _ in range(8):
            ended = [one for one in beams if one and one[-1] == END]
            longer = [(*one, word) for one in beams if one not in ended for word in range(6)]
            beams = sorted(ended + longer, key=lambda one: -chain.log_prob(sample, one))[:width]
        assert found(result, sample) == beams


def test_records_are_those_of_each_sequence_and_zero_behind_it(chain: Chain, start: Tensor) -> None:
    result = beam_search(chain, chain.state(), start, STOP, width=5)
    for sample, beam in product(range(BATCH), range(5)):
        words = found(result, sample)[beam]
        memory = torch.cat([torch.zeros(1, dtype=torch.long), torch.tensor(words)[:-1]])
        expected = torch.zeros(LONGEST, 2)
        expected[: len(words), 0] = chain.drift[memory].cumsum(0)
        expected[: len(words), 1] = torch.arange(1.0, len(words) + 1)
        torch.testing.assert_close(result.records[sample, beam], expected)
    assert (result.tokens[~result.mask] == END).all()


def test_fewer_sequences_than_beams_leave_places_empty(chain: Chain, start: Tensor) -> None:
    result = beam_search(chain, chain.state(), start, STOP, width=43)
    assert result.mask.any(-1).sum(1).tolist() == [40] * BATCH
    assert result.scores.isneginf().sum(1).tolist() == [3] * BATCH
    assert not result.mask[:, 40:].any()
    assert not result.records[:, 40:].any()


def test_what_must_not_follow_never_does(chain: Chain, start: Tensor) -> None:
    def without_two(tokens: Tensor, state: tuple[Tensor, ...]) -> Next:
        logits, state, record = chain(tokens, state)
        return Next(logits.index_fill(-1, torch.tensor([2]), -torch.inf), state, record)

    result = beam_search(without_two, chain.state(), start, STOP, width=40)
    assert result.mask.any(-1).sum(1).tolist() == [1 + 2 + 4 + 8] * BATCH
    assert not (result.tokens == 2).any()
    drawn = sample_sequences(without_two, chain.state(), start, STOP, count=100)
    assert not (drawn.tokens == 2).any()


def test_it_stops_early_only_where_told_to(start: Tensor) -> None:
    def quick(tokens: Tensor, state: tuple[Tensor, ...]) -> Next:
        return Next(torch.tensor([0.0, 0.0, 0.0, 9.0]).expand(*tokens.shape, 4), state, tokens)

    for search in (
        lambda stop: beam_search(quick, (), start, stop, width=1),
        lambda stop: sample_sequences(quick, (), start, stop, generator=torch.Generator().manual_seed(0)),
    ):
        early, late = (search(Stop(end=END, max_length=9, early=e)) for e in (True, False))
        steps = int(early.mask.sum(-1).max())
        assert (early.tokens.shape[2], late.tokens.shape[2]) == (steps, 9)
        assert late.tokens[..., :steps].equal(early.tokens)
        assert late.scores.equal(early.scores)


def test_samples_come_as_often_as_they_are_likely(chain: Chain, start: Tensor) -> None:
    """Chi-squared over the 40 sequences: 39 degrees of freedom exceed 75 once in two thousand."""
    count = 20_000
    draw = torch.Generator().manual_seed(1)
    drawn = sample_sequences(chain, chain.state(), start, STOP, count=count, generator=draw)
    for sample in range(BATCH):
        words = found(drawn, sample)
        assert drawn.scores[sample, 0] == pytest.approx(chain.log_prob(sample, words[0]), rel=1e-5)
        chi = 0.0
        for one in all_sequences():
            expected = count * torch.tensor(chain.log_prob(sample, one)).exp().item()
            chi += (words.count(one) - expected) ** 2 / expected if expected > 5 else 0.0
        assert chi < 75


def test_temperature_sharpens_what_is_drawn(chain: Chain, start: Tensor) -> None:
    cold = sample_sequences(chain, chain.state(), start, STOP, count=4, temperature=1e-3)
    greedy = beam_search(chain, chain.state(), start, STOP, width=1)
    assert cold.tokens.equal(greedy.tokens.expand(-1, 4, -1))
    torch.testing.assert_close(cold.scores, greedy.scores.expand(-1, 4))
    hot = sample_sequences(chain, chain.state(), start, STOP, count=2000, temperature=1e3)
    assert (
        torch.bincount(hot.tokens[:, :, 0].flatten()).float().div(2000 * BATCH).sub(0.25).abs().max() < 0.03
    )


def test_a_generator_repeats_its_samples(chain: Chain, start: Tensor) -> None:
    first, again, other = (
        sample_sequences(
            chain, chain.state(), start, STOP, count=20, generator=torch.Generator().manual_seed(seed)
        )
        for seed in (5, 5, 6)
    )
    assert first.tokens.equal(again.tokens)
    assert not first.tokens.equal(other.tokens)


def test_half_precision_logits_are_added_up_in_single(chain: Chain, start: Tensor) -> None:
    def half(tokens: Tensor, state: tuple[Tensor, ...]) -> Next:
        logits, state, record = chain(tokens, state)
        return Next(logits.bfloat16(), state, record)

    def rounded(tokens: Tensor, state: tuple[Tensor, ...]) -> Next:
        logits, state, record = chain(tokens, state)
        return Next(logits.bfloat16().float(), state, record)

    low, wide = (beam_search(step, chain.state(), start, STOP, width=6) for step in (half, rounded))
    assert low.scores.dtype == torch.float32
    assert low.scores.equal(wide.scores)
    assert low.tokens.equal(wide.tokens)


class Counted(TorchDispatchMode):
    """Counts operations, and values read back to Python."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.read = 0, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        self.read += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_operations_of_a_step_depend_on_no_size_and_nothing_is_read(start: Tensor) -> None:
    def counted(words: int, steps: int, width: int) -> tuple[int, int]:
        chain = Chain(words=words, longest=20)
        stop = Stop(end=END, max_length=steps, early=False)
        with Counted() as counter:
            beam_search(chain, chain.state(), start, stop, width=width)
        return counter.count, counter.read

    short, long = counted(5, 4, 2), counted(5, 9, 2)
    assert (short[1], long[1]) == (0, 0)
    assert counted(50, 4, 7) == short
    assert counted(5, 14, 2)[0] - long[0] == long[0] - short[0]
    assert (long[0] - short[0]) / 5 < 60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, r"^width must be at least 1, got 0\.$"),
        ({"count": 0}, r"^count must be at least 1 and temperature above 0, got 0 and 1\.0\. The likeliest"),
        ({"temperature": 0.0}, r"^count must be at least 1 and temperature above 0, got 1 and 0\.0\."),
        ({"temperature": float("nan")}, r"got 1 and nan\."),
    ],
)
def test_options_out_of_range_are_refused(
    chain: Chain, start: Tensor, options: dict[str, Any], message: str
) -> None:
    search: Any = beam_search if "width" in options else sample_sequences
    with pytest.raises(OptionError, match=message):
        search(chain, chain.state(), start, STOP, **options)


def test_a_sequence_must_be_allowed_a_token() -> None:
    with pytest.raises(OptionError, match=r"^max_length must be at least 1, got 0\.$"):
        Stop(end=1, max_length=0)
