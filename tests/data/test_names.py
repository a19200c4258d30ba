import pytest

from fuseloom.data.names import check_name, modality_name, split_group
from fuseloom.errors import ModalityError


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("Überschrift", "Uberschrift"),
        ("a (b) c", "a_b_c"),
        ("x-ray", "x-ray"),
        ("价格", ""),
        ("café.au", "cafe_au"),
    ],
)
def test_names_are_spelled_in_ascii(column: str, name: str) -> None:
    assert modality_name(column) == name


@pytest.mark.parametrize("name", ["type", "", "2d", "a_from_b", "keys"])
def test_names_that_a_model_cannot_carry_are_refused(name: str) -> None:
    with pytest.raises(
        ModalityError, match=r"^'a column' cannot be a modality\. Modality name must .* Do this\.$"
    ):
        check_name(name, origin="'a column'", advice="Do this.")


def test_a_good_name_is_returned() -> None:
    assert check_name("text", origin="'a column'", advice="") == "text"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("price", (None, ["price"])),
        ("price, stars", (None, ["price", "stars"])),
        ("shop=price,stars", ("shop", ["price", "stars"])),
        ("a,b", (None, ["a,b"])),
        ("shop=a,b", ("shop", ["a,b"])),
        ('shop="a,b",price', ("shop", ["a,b", "price"])),
    ],
)
def test_groups_of_columns_are_split(entry: str, expected: tuple[str | None, list[str]]) -> None:
    assert split_group(entry, ["price", "stars", "a,b"]) == expected
