import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import StandardScaler

from fuseloom.data import Dataset, Embedding, ModalitySpec, Schema, Table, Text, encode, fit_preprocessors
from fuseloom.data.preprocessing import EmbeddingPreprocessor, TablePreprocessor, TextPreprocessor
from fuseloom.errors import DataError


def embedding(values, mask=None) -> Embedding:
    values = np.array(values, dtype=np.float32)
    return Embedding(
        values=values, mask=np.ones(values.shape[:-1], np.bool_) if mask is None else np.array(mask)
    )


def text(*values: str | None) -> Text:
    return Text(values=np.array(values, dtype=object))


def table(numbers=(), categories=()) -> Table:
    return Table(
        numbers={name: np.array(column, dtype=np.float64) for name, column in dict(numbers).items()},
        categories={name: np.array(column, dtype=object) for name, column in dict(categories).items()},
    )


def test_embeddings_are_standardised_by_training_rows_only() -> None:
    values = np.random.default_rng(0).normal(3, 5, size=(9000, 3)).astype(np.float32)
    rows = np.arange(0, 9000, 2)
    fitted = EmbeddingPreprocessor.fit(embedding(values), rows)
    scaler = StandardScaler().fit(values[rows].astype(np.float64))
    out, mask = fitted.apply(embedding(values))
    np.testing.assert_allclose(out, scaler.transform(values.astype(np.float64)), atol=1e-5)
    assert out.dtype == np.float32
    assert mask.all()
    assert fitted.encoder_options() == {"in_dim": 3}


def test_constants_are_centred_and_outliers_cut() -> None:
    values = [[1e6, 0.0], [1e6, 1.0], [1e6, -1.0], [1e6 + 1, 1e9]]
    out, _ = EmbeddingPreprocessor.fit(embedding(values), np.arange(3)).apply(embedding(values))
    assert out[:, 0].tolist() == [0, 0, 0, 1]
    assert out[3, 1] == 10


def test_a_constant_that_rounds_badly_is_still_constant() -> None:
    values = np.full((7, 1), 0.1, dtype=np.float32)
    assert EmbeddingPreprocessor.fit(embedding(values), np.arange(7)).std == (1.0,)


def test_entries_that_are_not_finite_mask_their_row_or_token() -> None:
    values = [[1.0, 2.0], [np.nan, 2.0], [np.inf, 3.0], [3.0, 6.0], [9.0, 9.0]]
    modality = embedding(values, [True, True, True, True, False])
    fitted = EmbeddingPreprocessor.fit(modality, np.arange(5))
    assert fitted.mean == (2.0, 4.0)
    assert fitted.notes == ("2 rows have entries that are not finite and count as missing",)
    out, mask = fitted.apply(modality)
    assert mask.tolist() == [True, False, False, True, False]
    assert out[~mask].tolist() == [[0, 0]] * 3
    tokens = embedding([values, values])
    fitted = EmbeddingPreprocessor.fit(tokens, np.array([0]))
    assert fitted.notes == ("4 tokens have entries that are not finite and count as missing",)
    assert fitted.apply(tokens)[1].tolist() == [[True, False, False, True, True]] * 2


def test_the_input_is_not_changed() -> None:
    modality = embedding([[1.0], [np.nan], [5.0]])
    before = modality.values.copy()
    EmbeddingPreprocessor.fit(modality, np.arange(3)).apply(modality)
    np.testing.assert_array_equal(modality.values, before)
    assert modality.mask.all()


def test_an_absent_embedding_is_masked_in_the_width_of_training() -> None:
    absent = Embedding(values=np.zeros((4, 0), np.float32), mask=np.zeros(4, np.bool_))
    out, mask = EmbeddingPreprocessor.fit(embedding([[1.0, 2.0]]), np.array([0])).apply(absent)
    assert out.shape == (4, 2)
    assert not mask.any()
    out, mask = EmbeddingPreprocessor.fit(embedding([[[1.0, 2.0]]]), np.array([0])).apply(absent)
    assert out.shape == (4, 1, 2)
    assert mask.shape == (4, 1)


def test_an_embedding_without_a_real_training_row_stays_finite() -> None:
    modality = embedding([[1.0], [2.0]], [False, True])
    out, mask = EmbeddingPreprocessor.fit(modality, np.array([0])).apply(modality)
    assert out.tolist() == [[0], [2]]
    assert mask.tolist() == [False, True]


@pytest.mark.parametrize("values", [np.ones((2, 3)), np.ones((2, 1, 2))])
def test_another_shape_than_in_training_is_refused(values) -> None:
    with pytest.raises(DataError, match=r"Values must have shape \[N, 2\] as in training, got"):
        EmbeddingPreprocessor.fit(embedding([[1.0, 2.0]]), np.array([0])).apply(embedding(values))


def test_tables_keep_holes_and_number_their_categories() -> None:
    modality = table(
        {"price": [1, 3, np.nan, 5, np.nan], "empty": [np.nan] * 4 + [7]},
        {"colour": ["red", "blue", None, "green", None]},
    )
    fitted = TablePreprocessor.fit(modality, np.array([0, 1, 2]))
    out, mask = fitted.apply(modality)
    np.testing.assert_array_equal(
        out,
        [[-1, np.nan, 2], [1, np.nan, 1], [np.nan, np.nan, 0], [3, np.nan, 0], [np.nan, 7, 0]],
    )
    assert mask.tolist() == [True, True, False, True, True]
    assert fitted.encoder_options() == {"num_numbers": 2, "cardinalities": [3]}


def test_a_row_of_categories_alone_is_real() -> None:
    modality = table({}, {"colour": ["red", None, "new"]})
    out, mask = TablePreprocessor.fit(modality, np.array([0])).apply(modality)
    assert out.tolist() == [[1], [0], [0]]
    assert mask.tolist() == [True, False, True]


def test_numbers_of_a_table_are_cut_and_never_infinite() -> None:
    fitted = TablePreprocessor.fit(table({"a": [0, 2, 4]}), np.arange(3))
    out, mask = fitted.apply(table({"a": [1e9, -np.inf, 2]}))
    np.testing.assert_array_equal(out, [[10], [np.nan], [0]])
    assert mask.tolist() == [True, False, True]


def test_columns_are_found_by_name_not_by_place() -> None:
    fitted = TablePreprocessor.fit(table({"a": [0, 2], "b": [0, 4]}), np.arange(2))
    assert fitted.apply(table({"b": [4], "a": [0]}))[0].tolist() == [[-1, 1]]
    with pytest.raises(DataError, match="Columns must be those of training, got no 'b'"):
        fitted.apply(table({"a": [1]}))


def test_texts_become_padded_bytes() -> None:
    fitted = TextPreprocessor.fit(text("añ", None, "a much longer test text"), np.array([0, 1]))
    values, mask = fitted.apply(text("añ", None, " \n", "", "abcdef", "x"))
    assert values.dtype == np.uint8
    assert values.tolist() == [[97, 195, 177], [0] * 3, [0] * 3, [0] * 3, [97, 98, 99], [120, 0, 0]]
    assert mask.sum(1).tolist() == [3, 0, 0, 0, 3, 1]
    assert fitted.notes == ("1 of 3 texts are cut after 3 bytes",)
    assert fitted.encoder_options() == {}


def test_texts_are_cut_at_the_limit_and_counted() -> None:
    fitted = TextPreprocessor.fit(text("x" * 513, "y" * 512), np.arange(2))
    assert fitted.length == 512
    assert fitted.notes == ("1 of 2 texts are cut after 512 bytes",)


def test_texts_that_are_all_missing_still_have_a_shape() -> None:
    values, mask = TextPreprocessor.fit(text(None, ""), np.arange(2)).apply(text(None))
    assert values.tolist() == [[0]]
    assert not mask.any()


@given(st.lists(st.text(st.characters(), max_size=20), min_size=1, max_size=6))
def test_any_text_is_encoded_and_can_be_read_back(texts: list[str]) -> None:
    fitted = TextPreprocessor.fit(text(*texts), np.arange(len(texts)))
    values, mask = fitted.apply(text(*texts))
    for original, row, real in zip(texts, values, mask, strict=True):
        found = bytes(row[real]).decode()
        assert found == ("" if original.isspace() else original.encode("utf-8", "replace").decode())


def dataset() -> Dataset:
    modalities = {
        "image": embedding([[1.0], [3.0]]),
        "shop": table({"price": [1, np.nan]}),
        "review": text("ab", None),
    }
    return Dataset(
        name="rows",
        modalities=modalities,
        target=None,
        ids=["0", "1"],
        split=None,
        schema=Schema(
            source_format="arrays",
            modalities={name: ModalitySpec(kind=m.kind) for name, m in modalities.items()},
        ),
    )


def test_a_data_set_is_encoded_to_tensors_with_a_mask_each() -> None:
    rows = dataset()
    inputs, masks = encode(rows, fit_preprocessors(rows, np.array([0, 1])))
    torch.testing.assert_close(inputs["image"], torch.tensor([[-1.0], [1.0]]))
    torch.testing.assert_close(inputs["shop"], torch.tensor([[0.0], [torch.nan]]), equal_nan=True)
    assert inputs["review"].tolist() == [[97, 98], [0, 0]]
    assert {name: mask.tolist() for name, mask in masks.items()} == {
        "image": [True, True],
        "shop": [True, False],
        "review": [[True, True], [False, False]],
    }
    inputs["review"][0, 0] = 1


def test_encoding_names_the_modality_that_does_not_fit() -> None:
    rows = dataset()
    fitted = fit_preprocessors(rows, np.array([0, 1]))
    with pytest.raises(
        DataError, match="Modality 'sound' must be of kind 'embedding' as in training, got none"
    ):
        encode(rows, {"sound": fitted["image"]})
    with pytest.raises(DataError, match="Modality 'review' must be of kind 'table' as in training, got text"):
        encode(rows, {"review": fitted["shop"]})
    wide = EmbeddingPreprocessor.fit(embedding([[1.0, 2.0]]), np.array([0]))
    with pytest.raises(DataError, match=r"Modality 'image': Values must have shape \[N, 2\]"):
        encode(rows, {"image": wide})
