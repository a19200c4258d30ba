"""Best paths against paths that are written out one by one."""

import itertools

import pytest
import torch
from torch import Tensor

from fuseloom.nn.crf_lattice import Chain
from fuseloom.nn.crf_paths import best_path, best_paths
from fuseloom.nn.crf_sums import path_score
from fuseloom.nn.tag_scheme import TagConstraints, tag_constraints

SIZES = [(1, 1), (1, 4), (3, 1), (2, 5), (4, 3), (5, 4)]
BIO = ["O", "B-A", "I-A", "B-B", "I-B"]


def drawn(num_tags: int, length: int) -> tuple[Chain, Tensor, Tensor]:
    """A chain, and a full, a shorter, a shortest and an empty sequence."""
    shapes = (num_tags,), (num_tags,), (num_tags, num_tags), (4, length, num_tags)
    start, end, transitions, emissions = (torch.randn(*shape, dtype=torch.float64) for shape in shapes)
    lengths = torch.tensor([length, max(1, length - 2), 1, 0])
    mask = torch.arange(length) < lengths[:, None]
    return Chain(start=start, transitions=transitions, end=end), emissions, mask


def ranked(
    chain: Chain, emissions: Tensor, size: int, allowed: TagConstraints | None = None
) -> list[tuple[float, list[int]]]:
    """All paths of one sequence that are allowed, the best first."""
    found = []
    for path in itertools.product(range(len(chain.start)), repeat=size):
        if allowed is not None and path and not _is_allowed(path, allowed):
            continue
        moves = sum(chain.transitions[a, b].item() for a, b in itertools.pairwise(path))
        ends = chain.start[path[0]].item() + chain.end[path[-1]].item() if path else 0.0
        found.append((ends + moves + sum(emissions[t, k].item() for t, k in enumerate(path)), list(path)))
    return sorted(found, reverse=True)


def _is_allowed(path: tuple[int, ...], allowed: TagConstraints) -> bool:
    moves = all(allowed.transitions[a, b] for a, b in itertools.pairwise(path))
    return moves and bool(allowed.start[path[0]] and allowed.end[path[-1]])


@pytest.mark.parametrize(("num_tags", "length"), SIZES)
def test_the_best_path_is_the_best_of_all(num_tags: int, length: int) -> None:
    chain, emissions, mask = drawn(num_tags, length)
    found = best_path(chain, emissions, mask, padding=-7)
    for b, size in enumerate(mask.sum(1).tolist()):
        _, path = ranked(chain, emissions[b], size)[0]
        assert found[b].tolist() == path + [-7] * (length - size)


@pytest.mark.parametrize(("num_tags", "length"), SIZES)
@pytest.mark.parametrize("num_paths", [1, 3, 20])
def test_the_best_paths_are_the_best_of_all_in_their_order(
    num_tags: int, length: int, num_paths: int
) -> None:
    chain, emissions, mask = drawn(num_tags, length)
    tags, scores = best_paths(chain, emissions, mask, num_paths=num_paths)
    for b, size in enumerate(mask.sum(1).tolist()):
        expected = ranked(chain, emissions[b], size)[:num_paths]
        count = len(expected)
        padded = [path + [-1] * (length - size) for _, path in expected]
        assert tags[b, :count].tolist() == padded
        assert scores[b, :count].tolist() == pytest.approx([score for score, _ in expected])
        assert (tags[b, count:] == -1).all()
        assert (scores[b, count:] == torch.finfo(torch.float64).min).all()


@pytest.mark.parametrize("scheme", ["bio", "bioes"])
def test_under_constraints_only_what_is_allowed_is_found(scheme: str) -> None:
    names = BIO if scheme == "bio" else ["O", "B-A", "I-A", "E-A", "S-A"]
    allowed = tag_constraints(names, scheme=scheme)
    chain, emissions, mask = drawn(5, 4)
    restricted = chain.restrict(allowed)
    tags, scores = best_paths(restricted, emissions, mask, num_paths=200)
    for b, size in enumerate(mask.sum(1).tolist()):
        expected = ranked(chain, emissions[b], size, allowed)
        found = tags[b, scores[b] > torch.finfo(torch.float64).min, :size].tolist()
        assert found == [path for _, path in expected][:200]
        assert best_path(restricted, emissions, mask)[b, :size].tolist() == expected[0][1]


def test_scores_are_those_of_the_paths() -> None:
    chain, emissions, mask = drawn(4, 6)
    tags, scores = best_paths(chain, emissions, mask[:3].new_ones(4, 6), num_paths=5)
    for rank in range(5):
        torch.testing.assert_close(path_score(chain, emissions, tags[:, rank]), scores[:, rank])
    assert tags[:, 0].equal(best_path(chain, emissions))


def test_the_path_that_breaks_least_is_found_where_every_path_breaks_something() -> None:
    """Three tags that must be one segment without an end: the last one cannot be right, all others can."""
    chain, emissions, _ = drawn(2, 4)
    restricted = chain.restrict(tag_constraints(["B-A", "I-A"], scheme="bioes"))
    assert best_path(restricted, emissions).tolist() == [[0, 1, 1, 1]] * 4
    tags, scores = best_paths(restricted, emissions, num_paths=2)
    assert (tags == -1).all()
    assert (scores == torch.finfo(torch.float64).min).all()


def test_what_is_masked_is_not_read() -> None:
    chain, emissions, mask = drawn(3, 5)
    noisy = emissions.masked_fill(~mask[..., None], float("nan"))
    assert best_path(chain, noisy, mask).equal(best_path(chain, emissions, mask))
    for found, expected in zip(
        best_paths(chain, noisy, mask, num_paths=3),
        best_paths(chain, emissions, mask, num_paths=3),
        strict=True,
    ):
        assert found.equal(expected)


def test_scores_that_are_not_numbers_give_tags_that_are_some() -> None:
    chain, emissions, mask = drawn(3, 5)
    broken = torch.full_like(emissions, float("nan"))
    for tags in (best_path(chain, broken, mask), best_paths(chain, broken, mask, num_paths=1)[0][:, 0]):
        assert ((tags >= -1) & (tags < 3)).all()
    assert (best_path(chain, broken, mask) >= 0).equal(mask)


def test_of_equal_paths_the_first_is_found() -> None:
    chain = Chain(start=torch.zeros(4), transitions=torch.zeros(4, 4), end=torch.zeros(4))
    assert not best_path(chain, torch.zeros(2, 6, 4)).any()


def test_no_graph_is_kept() -> None:
    chain, emissions, mask = drawn(3, 5)
    _, scores = best_paths(chain, emissions.requires_grad_(), mask, num_paths=2)
    assert not scores.requires_grad
