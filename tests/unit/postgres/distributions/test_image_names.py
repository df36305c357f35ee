"""Image names: the grammar, and what each asks for."""

import time

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.postgres.distributions.image_names import Image, parse_image

DIGEST = "sha256:" + "0af1" * 16


@pytest.mark.parametrize(
    ("text", "image"),
    [
        ("postgres", Image("postgres")),
        ("postgres:latest", Image("postgres")),
        ("postgres:alpine", Image("postgres")),
        ("postgres:alpine3.20", Image("postgres")),
        ("postgres:bookworm", Image("postgres")),
        ("postgres:17", Image("postgres", major=17)),
        ("postgres:17-alpine", Image("postgres", major=17)),
        ("postgres:17-alpine3.20", Image("postgres", major=17)),
        ("postgres:17.2", Image("postgres", major=17, version="17.2")),
        ("postgres:17.2-bookworm", Image("postgres", major=17, version="17.2")),
        ("postgres:18beta1", Image("postgres", major=18, version="18beta1")),
        ("postgres:18rc1-alpine", Image("postgres", major=18, version="18rc1")),
        ("postgres:9.6", Image("postgres", major=9, version="9.6")),
        ("postgres:stable", Image("postgres", known_tag=False)),
        ("postgres:17.2.1", Image("postgres", known_tag=False)),
        ("library/postgres:17", Image("postgres", major=17)),
        ("docker.io/library/postgres:17.2-alpine", Image("postgres", major=17, version="17.2")),
        ("docker.io/postgres", Image("postgres")),
        ("localhost/postgres:15", Image("localhost/postgres", major=15)),
        ("localhost:5000/postgres", Image("localhost:5000/postgres")),
        ("localhost:5000/library/postgres:15", Image("localhost:5000/library/postgres", major=15)),
        ("r.example.com:443/postgres:15", Image("r.example.com:443/postgres", major=15)),
        (f"postgres@{DIGEST}", Image("postgres", digest=DIGEST)),
        (f"postgres:17@{DIGEST}", Image("postgres", major=17, digest=DIGEST)),
        (f"postgres:odd@{DIGEST}", Image("postgres", digest=DIGEST, known_tag=False)),
        ("mysql:8", Image("mysql", major=8)),
        ("postgres:17/x", Image("postgres:17/x")),  # a port, not a tag
        ("postgis/postgis:17-3.5", Image("postgis/postgis", major=17)),
        ("quay.io/me/postgres:17", Image("quay.io/me/postgres", major=17)),
    ],
)
def test_the_parts_of_an_image_name(text: str, image: Image) -> None:
    assert parse_image(text) == image


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "postgres ",
        " postgres",
        "postgres:",
        "postgres:17 ",
        "postgres:17\n",
        "Postgres:17",
        "postgres:-17",
        "postgres:17:18",
        "postgres:x/y",
        "localhost:99999999/postgres",
        ":17",
        "@",
        f"@{DIGEST}",
        "postgres@sha256:123",
        "postgres@md5:" + "0" * 64,
        f"postgres@{DIGEST.upper()}",
        f"postgres@{DIGEST}0",
        "-postgres",
        "postgres-",
        "a//b",
        "../postgres",
        "/usr/bin/postgres",
        "https://docker.io/postgres",
        "postgres:" + "1" * 129,
        "pöstgres",
        "postgres\x00",
    ],
)
def test_an_invalid_image_name_is_an_error(text: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid image"):
        parse_image(text)


@pytest.mark.parametrize("text", ["a" * 513, "a:" * 100_000, "a-" * 255 + "!", "a" * 511 + "!"])
def test_an_absurdly_long_image_name_is_refused_at_once(text: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(InvalidArgument):
        parse_image(text)
    assert time.perf_counter() - begun < 1


def test_an_image_name_with_a_digest_has_an_id() -> None:
    assert parse_image(f"postgres:17@{DIGEST}").image_id == f"postgres@{DIGEST}"
    assert parse_image("postgres:17").image_id is None
