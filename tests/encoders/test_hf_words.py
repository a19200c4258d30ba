"""Word pieces become words: the first of each stands for it, and nothing else is read of the others."""

import pytest
import torch

from fuseloom.encoders.hf_words import HfWordEncoder, first_pieces
from fuseloom.errors import ModalityError

pytest.importorskip("transformers")

CONFIG = {"model_type": "bert", "vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 1}
CONFIG |= {"num_attention_heads": 2, "intermediate_size": 16}


def test_the_first_piece_stands_for_its_word() -> None:
    values = torch.arange(12.0).view(2, 6, 1)
    words = torch.tensor([[-1, 0, 0, 1, 2, -1], [0, 1, 2, 3, -1, -1]])
    found, there = first_pieces(values, words, 3)
    assert found[..., 0].tolist() == [[1, 3, 4], [6, 7, 8]]
    assert there.all()
    found, there = first_pieces(values, words, 5)
    assert found[..., 0].tolist() == [[1, 3, 4, 0, 0], [6, 7, 8, 9, 0]]
    assert there.tolist() == [[True] * 3 + [False] * 2, [True] * 4 + [False]]


def test_words_are_what_the_language_model_makes_of_their_first_pieces() -> None:
    encoder = HfWordEncoder("tiny", num_words=2, dim=4, config=CONFIG).eval()
    pieces = torch.tensor([[[2, -1], [5, 0], [6, 0], [7, 1], [3, -1]]])
    hidden, _ = encoder.stages[0].language(pieces[..., 0], None)
    tokens, _ = encoder.features(pieces)
    torch.testing.assert_close(tokens, hidden[:, [1, 3]])
    torch.testing.assert_close(encoder(pieces)[0], encoder.stages[1].project(tokens))
    again = HfWordEncoder("any", num_words=2, dim=4, **encoder.rebuild_options()).eval()
    again.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(again(pieces)[0], encoder(pieces)[0])


def test_a_frozen_model_only_learns_the_last_map() -> None:
    encoder = HfWordEncoder("tiny", num_words=2, dim=4, config=CONFIG, frozen=True)
    trained = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    assert trained
    assert all(name.startswith("stages.1.") for name in trained)


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ModalityError, match=r"must have shape \[B, T, 2\]"):
        HfWordEncoder("tiny", num_words=2, config=CONFIG)(torch.zeros(2, 3, dtype=torch.long))
