"""Password verifiers."""

import base64

import pytest

from sqlrs_engine.postgres.scram import scram_verifier


def test_a_verifier_has_the_keys_of_the_rfcs_example() -> None:
    """RFC 7677, section 3: what the keys of its exchange are."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert scram_verifier("pencil", salt=salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
        "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_every_verifier_has_a_salt_of_its_own() -> None:
    verifiers = {scram_verifier("pencil") for _ in range(3)}
    assert len(verifiers) == 3
    assert not any("pencil" in each for each in verifiers)


@pytest.mark.parametrize("password", ["", "päss", "tab\t", "new\nline", "nul\x00", "\x7f"])
def test_a_password_that_is_not_printable_ascii_is_refused(password: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        scram_verifier(password)
