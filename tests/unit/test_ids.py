import pytest

from sqlrs_engine import ids
from sqlrs_engine.errors import InvalidArgument


def test_new_ids_are_instance_ids_and_differ() -> None:
    made = {ids.new_id() for _ in range(100)}

    assert len(made) == 100
    assert all(ids.is_instance_id(new) and new == new.lower() for new in made)


@pytest.mark.parametrize("text", ["a" * 32, "A" * 32, "0123456789abcdefABCDEF0123456789"])
def test_an_instance_id_is_32_hex_digits_of_either_case(text: str) -> None:
    assert ids.is_instance_id(text)


@pytest.mark.parametrize("text", ["", "a" * 31, "a" * 33, "g" * 32, "a" * 32 + "\n", "٣" * 32])
def test_other_texts_are_no_instance_ids(text: str) -> None:
    assert not ids.is_instance_id(text)


def test_a_state_id_is_64_lower_case_hex_digits() -> None:
    assert ids.is_state_id("0f" * 32)
    assert not ids.is_state_id("0F" * 32)
    assert not ids.is_state_id("0f" * 31)
    assert not ids.is_state_id("0f" * 32 + "\n")


def test_a_prefix_comes_back_in_lower_case() -> None:
    assert ids.parse_prefix("DEADBEEF01") == "deadbeef01"


@pytest.mark.parametrize(
    ("text", "details"),
    [
        ("", "id_prefix must be at least 8 hex characters"),
        ("deadbee", "id_prefix must be at least 8 hex characters"),
        ("deadbeeg", "id_prefix must be hex"),
        ("deadbeef%", "id_prefix must be hex"),
    ],
)
def test_a_bad_prefix_is_refused_with_its_reason(text: str, details: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid id_prefix") as caught:
        ids.parse_prefix(text)

    assert caught.value.details == details
