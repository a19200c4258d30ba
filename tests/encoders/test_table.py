import torch

from fuseloom.encoders.table import TableEncoder


def test_a_missing_number_is_not_the_mean():
    encoder = TableEncoder(1, [], dim=4).eval()
    missing, mean = encoder(torch.tensor([[torch.nan]]))[0], encoder(torch.tensor([[0.0]]))[0]
    assert not torch.allclose(missing, mean)


def test_columns_of_categories_do_not_share_codes():
    encoder = TableEncoder(0, [3, 3], dim=4).eval()
    rows, _ = encoder(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    assert not torch.allclose(rows[0], rows[1])


def test_a_table_of_numbers_alone_and_of_categories_alone_train():
    for encoder, row in [(TableEncoder(2, []), torch.randn(3, 2)), (TableEncoder(0, [2]), torch.ones(3, 1))]:
        out, mask = encoder(row)
        out.sum().backward()
        assert mask is None
        assert out.isfinite().all()
