"""auth: which Authorization headers carry the engine's token."""

import pytest

from sqlrs_engine.auth import Bearer

TOKEN = "c0ffee" * 10


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_the_engines_token_is_accepted(scheme):
    assert Bearer(TOKEN).accepts(f"{scheme} {TOKEN}".encode())


@pytest.mark.parametrize(
    "header",
    [
        None,
        b"",
        b"Bearer",
        b"Bearer ",
        b"Basic " + TOKEN.encode(),
        TOKEN.encode(),
        b"Bearer " + TOKEN[:-1].encode(),
        b"Bearer " + TOKEN.encode() + b"0",
        b"Bearer " + TOKEN.upper().encode(),
        b"Bearer \xff\xfe",
        b"Bearer caf\xc3\xa9",
    ],
)
def test_anything_else_is_not(header):
    assert not Bearer(TOKEN).accepts(header)


@pytest.mark.parametrize("token", ["", " ", "\n"])
def test_an_engine_without_a_token_cannot_be(token):
    with pytest.raises(ValueError, match="token is empty"):
        Bearer(token)
