"""Advice about extensions that the PostgreSQL of a step does not have."""

from dataclasses import replace
from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.build.extension_advice import extension_advice


def distribution(number: int, major: int = 18, home: Path = Path("/nowhere")) -> Distribution:
    return Distribution(
        image_id=f"postgres@sha256:{number:064}",
        version=f"{major}.6",
        major=major,
        bin_dir=home / "bin",
        origin="wheel",
    )


USED = distribution(0)


def advice(name, used=USED, here=()):
    return extension_advice(f'extension "{name}" is not available', used, lambda extension: here)


def test_an_extension_that_another_version_here_has():
    text, facts = advice("postgis", here=[("postgres:15.18", distribution(1, 15))])
    assert text.startswith(
        "PostgreSQL 18.6 has no extension postgis: prepare with --image postgres:15.18 of "
        "this machine; or run sqlrs-engine postgres pull postgis/postgis:18-3.6"
    )
    assert facts == {
        "extension": "postgis",
        "here": ["postgres:15.18"],
        "pull": "postgis/postgis:18-3.6",
    }


def test_an_image_of_the_same_major_version_can_be_used_instead():
    pulled = ("pgvector/pgvector:pg18", distribution(2))
    _, facts = advice("vector", here=[("postgres:15.18", distribution(1, 15)), pulled])
    assert facts["here"] == ["postgres:15.18", "pgvector/pgvector:pg18"]
    assert facts["use"] == "pgvector/pgvector:pg18"


def test_of_several_images_of_the_same_version_the_first_is_advised():
    here = [
        ("postgres:17.6", distribution(1, 17)),
        ("postgres@sha256:1", distribution(2, 17)),
        ("postgres:15.6", distribution(3, 15)),
    ]
    text, facts = advice("vector", here=here)
    assert "--image postgres:17.6 or postgres:15.6 of this machine" in text
    assert len(facts["here"]) == 3


def test_an_image_that_is_here_is_not_pulled_again():
    text, _ = advice("postgis", here=[("postgis/postgis:18-3.6", distribution(1))])
    assert text == (
        "PostgreSQL 18.6 has no extension postgis: prepare with --image postgis/postgis:18-3.6 of "
        "this machine"
    )


def test_an_extension_that_postgres_has_removed_can_be_left_out():
    text, _ = advice("adminpack", here=[("postgres:15.18", distribution(1, 15))])
    assert text == (
        "PostgreSQL 18.6 has no extension adminpack: leave it out of the script, because "
        "PostgreSQL 17 removed it; or prepare with --image postgres:15.18 of this machine"
    )
    text, _ = advice("adminpack", distribution(0, 16))
    assert "removed" not in text


def test_the_postgres_that_failed_is_no_way_out():
    # Its control file is there, but its library does not load.
    found = extension_advice(
        'could not load library "/x/lib/pgxml.so": libxslt.so.1: cannot open',
        USED,
        lambda extension: [("postgres:18.6", USED)] if extension == "xml2" else [],
    )
    assert found == (
        "PostgreSQL 18.6 has no extension xml2: run sqlrs-engine postgres install 18",
        {"extension": "xml2", "install": 18},
    )


@pytest.mark.parametrize(
    ("major", "name", "way"),
    [
        (18, "pgcrypto", "run sqlrs-engine postgres install 18"),
        (14, "vector", "postgres pull pgvector/pgvector:pg14"),
        (17, "postgis_topology", "postgres pull postgis/postgis:17-3.5"),
        (16, "timescaledb", "postgres pull timescale/timescaledb:latest-pg16"),
        (15, "pg_cron", "on Debian or Ubuntu: apt-get install postgresql-15-cron"),
        (15, "pg_partman", "apt-get install postgresql-15-partman"),
        (18, "unheard_of", "prepare with --image and an image of a registry that has it"),
        (19, "pgcrypto", "prepare with --image and an image of a registry that has it"),
        (19, "postgis", "prepare with --image and an image of a registry that has it"),
    ],
)
def test_where_an_extension_comes_from(major, name, way):
    text, _ = advice(name, distribution(0, major))
    assert way in text


def test_an_installed_version_is_not_installed_again():
    text, facts = advice("pgcrypto", replace(USED, origin="installed"))
    assert facts == {"extension": "pgcrypto"}
    assert "postgres install" not in text


def test_a_hidden_extension_comes_with_its_reason(tmp_path):
    reasons = tmp_path / "share" / "hidden-extensions"
    reasons.mkdir(parents=True)
    (reasons / "plpython3u.reason").write_text("it needs libpython3.11.so.1.0 (advice)")
    used = replace(distribution(0, 16, tmp_path), origin="installed")
    text, _ = advice("plpython3u", used)
    assert text == (
        "the extension plpython3u of PostgreSQL 16.6 does not work: it needs "
        "libpython3.11.so.1.0 (advice)"
    )


@pytest.mark.parametrize(
    "message",
    ['relation "x" does not exist', 'extension "x" already exists', "could not open file"],
)
def test_other_errors_have_no_advice(message):
    assert extension_advice(message, USED, lambda extension: []) is None
