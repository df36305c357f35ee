"""References to images: the grammar and the defaults of ``docker run``."""

import time

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.postgres.images.references import is_digest, parse_reference

DIGEST = "sha256:" + "0af1" * 16


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("postgres", "docker.io/library/postgres:latest"),
        ("postgres:17", "docker.io/library/postgres:17"),
        ("library/postgres:17", "docker.io/library/postgres:17"),
        ("docker.io/postgres", "docker.io/library/postgres:latest"),
        ("index.docker.io/postgres:17", "docker.io/library/postgres:17"),
        ("registry-1.docker.io/a/b:1", "docker.io/a/b:1"),
        ("postgis/postgis:17-3.5", "docker.io/postgis/postgis:17-3.5"),
        ("a/b/c", "docker.io/a/b/c:latest"),
        ("a__b/c-d--e.f", "docker.io/a__b/c-d--e.f:latest"),
        ("ghcr.io/org/pg:tag", "ghcr.io/org/pg:tag"),
        ("GHCR.io/org/pg:Tag", "ghcr.io/org/pg:Tag"),
        ("localhost/pg", "localhost/pg:latest"),
        ("localhost:5000/pg", "localhost:5000/pg:latest"),
        ("127.0.0.1:5000/a/b:1", "127.0.0.1:5000/a/b:1"),
        ("[::1]:5000/pg:1", "[::1]:5000/pg:1"),
        ("[2001:DB8::1]/pg", "[2001:db8::1]/pg:latest"),
        (f"postgres@{DIGEST}", f"docker.io/library/postgres@{DIGEST}"),
        (f"localhost:5000/x:17@{DIGEST}", f"localhost:5000/x:17@{DIGEST}"),
        ("postgres:17/x", "postgres:17/x:latest"),  # a port, not a tag
    ],
)
def test_the_full_name(text: str, full: str) -> None:
    reference = parse_reference(text)
    assert str(reference) == full
    assert parse_reference(full) == reference
    assert parse_reference(reference.familiar) == reference


@pytest.mark.parametrize(
    ("text", "familiar"),
    [
        ("docker.io/library/postgres", "postgres:latest"),
        ("docker.io/postgis/postgis:17", "postgis/postgis:17"),
        ("docker.io/library/a/b:17", "library/a/b:17"),
        ("quay.io/library/postgres:17", "quay.io/library/postgres:17"),
        (f"postgres@{DIGEST}", f"postgres@{DIGEST}"),
    ],
)
def test_the_familiar_name(text: str, familiar: str) -> None:
    assert parse_reference(text).familiar == familiar


@pytest.mark.parametrize(
    ("text", "official"),
    [
        ("postgres:9", True),
        ("docker.io/library/postgres", True),
        ("localhost:5000/postgres", False),
        ("me/postgres", False),
        ("postgis", False),
    ],
)
def test_the_official_image(text: str, official: bool) -> None:
    assert parse_reference(text).is_official_postgres is official


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        ":17",
        "a:",
        "a//b",
        "a/",
        "/a",
        "A",
        "a/B",
        "Host/a",
        "a b",
        "a\n",
        "-a",
        "a-",
        "a___b",
        "a..b",
        "../a",
        "localhost:x/a",
        "localhost:99999/a",
        "localhost:/a",
        "-x.io/a",
        "x-.io/a",
        "[::1/a",
        "https://docker.io/a",
        "a:b:c",
        "a:" + "1" * 129,
        "a@",
        f"@{DIGEST}",
        f"a@{DIGEST}0",
        "a@sha256:12",
        "a@sha512:" + "0" * 128,
        "a/" * 128 + "a",
        "ä",
        "a\x00",
    ],
)
def test_what_is_not_a_reference_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid image: write it like postgres:17"):
        parse_reference(text)


@pytest.mark.parametrize("text", ["a" * 513, "a:" * 100_000, "a-" * 255 + "!", "a." * 255 + "/!"])
def test_a_long_text_is_refused_at_once(text: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(InvalidArgument):
        parse_reference(text)
    assert time.perf_counter() - begun < 1


def test_only_sha256_is_a_digest() -> None:
    assert is_digest(DIGEST)
    assert not is_digest(DIGEST.upper())
    assert not is_digest("md5:" + "0" * 32)
