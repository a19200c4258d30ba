import json
from pathlib import Path

import numpy as np
import pytest

from fuseloom.data.dataset import Text
from fuseloom.data.preprocessing import TokenPreprocessor
from fuseloom.errors import DataError

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tokenizer of six words."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    folder = tmp_path_factory.mktemp("words")
    vocabulary = {word: code for code, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "red", "blue"])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]"
    ).save_pretrained(folder)
    transformers.BertConfig(vocab_size=6).save_pretrained(folder)
    return str(folder)


def text(*values: str | None) -> Text:
    return Text(values=np.array(values, dtype=object))


def test_texts_become_tokens_as_long_as_the_longest_of_training(model: str) -> None:
    texts = text("red", "blue red", None, "red blue red blue")
    fitted = TokenPreprocessor.fit(texts, np.arange(3), model=model)
    values, mask = fitted.apply(texts)
    assert values.tolist() == [[2, 4, 3, 0], [2, 5, 4, 3], [0] * 4, [2, 4, 5, 3]]
    assert mask.sum(1).tolist() == [3, 4, 0, 4]
    assert fitted.notes == ("1 of 4 texts are cut after 4 tokens",)
    assert fitted.encoder_options() == {"model": model}


def test_the_limit_is_kept(model: str) -> None:
    fitted = TokenPreprocessor.fit(text("red " * 50), np.arange(1), model=model, max_length=7)
    assert fitted.apply(text("red " * 50))[1].sum() == 7


def test_training_rows_without_a_text_still_give_a_shape(model: str) -> None:
    texts = text(None, " ", "red blue")
    fitted = TokenPreprocessor.fit(texts, np.arange(2), model=model)
    values, mask = fitted.apply(texts)
    assert values[2].tolist() == [2, 4, 3]
    assert mask.sum(1).tolist() == [0, 0, 3]


def test_the_state_survives_json(model: str) -> None:
    fitted = TokenPreprocessor.fit(text("red blue"), np.arange(1), model=model)
    assert TokenPreprocessor.from_state(json.loads(json.dumps(fitted.state()))) == fitted


def test_a_model_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        TokenPreprocessor.fit(text("red"), np.arange(1), model=str(tmp_path / "nowhere"))
