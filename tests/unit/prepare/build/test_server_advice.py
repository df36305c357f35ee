"""Advice about locales, features and places for files that a step's server does not have."""

from dataclasses import replace
from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.build.server_advice import server_advice

USED = Distribution(
    image_id="postgres@sha256:" + "0" * 64,
    version="18.6",
    major=18,
    bin_dir=Path("/nowhere/bin"),
    origin="wheel",
)
SYSTEM = replace(USED, image_id="postgres@sha256:" + "1" * 64, origin="system")
XML = (
    "unsupported XML feature\n"
    "DETAIL:  This functionality requires the server to be built with libxml support."
)


def advice(text, used=USED, here=()):
    return server_advice(text, used, lambda extension: list(here))


@pytest.mark.parametrize(
    "message",
    [
        'invalid LC_COLLATE locale name: "en_US.UTF-8"\nHINT:  If the locale name is …',
        'invalid LC_CTYPE locale name: "en_US.UTF-8"',
        'invalid locale name: "en_US.UTF-8"',
        'could not create locale "en_US.UTF-8": No such file or directory',
        'collation "en_US.UTF-8" for encoding "UTF8" does not exist',
        'collation "pg_catalog.en_US.UTF-8" for encoding "UTF8" does not exist',
    ],
)
def test_a_locale_that_the_machine_does_not_have(message):
    assert advice(message).startswith("this machine has no locale en_US.UTF-8: install it")


def test_a_locale_that_the_image_does_not_have():
    said = advice('invalid LC_CTYPE locale name: "de_DE.utf8"', replace(USED, origin="image"))
    assert said.startswith("the image has no locale de_DE.utf8: leave it out")


@pytest.mark.parametrize("locale", ["Portuguese_Portugal.1252", "English_United States.1252"])
def test_locales_of_windows_cannot_be_installed(locale):
    said = advice(f'invalid LC_COLLATE locale name: "{locale}"')
    assert said == f"{locale} is a locale of Windows: leave it out of the script"


def test_a_script_in_the_name_of_a_locale_is_nothing_of_windows():
    said = advice('could not create locale "zh_Hans_CN": No such file or directory')
    assert said.startswith("this machine has no locale zh_Hans_CN: install it")


def test_a_database_with_another_locale_than_its_template():
    said = advice(
        "new collation (en_US.utf8) is incompatible with the collation of the template "
        "database (C.UTF-8)"
    )
    assert "add TEMPLATE template0" in said


def test_icu_comes_with_the_postgres_of_the_system_and_with_images():
    said = advice("ICU is not supported in this build", here=[("postgres:15.18", SYSTEM)])
    assert said == (
        "PostgreSQL 18.6 is built without ICU: prepare with one that has it, such as "
        "--image postgres:15.18 of this machine"
    )
    said = advice("ICU is not supported in this build", here=[("postgres:18.6", USED)])
    assert said.endswith("(Debian and Ubuntu: package postgresql) or an image of a registry")


@pytest.mark.parametrize("collation", ["en-x-icu", "und-x-icu", "pg_catalog.sr-Latn-x-icu"])
def test_collations_of_icu_come_with_icu(collation):
    said = advice(f'collation "{collation}" for encoding "UTF8" does not exist')
    assert said.startswith("PostgreSQL 18.6 is built without ICU")


def test_a_collation_of_the_script_is_no_locale():
    assert advice('collation "public.mine" for encoding "UTF8" does not exist') is None


def test_other_features_come_with_an_installed_version_too():
    assert advice(XML) == (
        "PostgreSQL 18.6 is built without libxml: prepare with one that has it, such as "
        "that of sqlrs-engine postgres install 18"
    )


@pytest.mark.parametrize(
    ("message", "library"),
    [
        (
            'pg_stat_statements must be loaded via "shared_preload_libraries"',
            "pg_stat_statements",
        ),
        ("pg_cron can only be loaded via shared_preload_libraries", "pg_cron"),
        ('extension "timescaledb" must be preloaded', "timescaledb"),
    ],
)
def test_a_library_that_is_not_preloaded_comes_with_an_image(message, library):
    said = advice(message)
    assert said.startswith(f"this PostgreSQL does not preload {library}: prepare with an image")


@pytest.mark.parametrize(
    "message",
    [
        "tablespace location must be an absolute path",
        'directory "/mnt/fast" does not exist',
        'could not set permissions on directory "/mnt/fast": Operation not permitted',
        'tablespace "fast" does not exist',
    ],
)
def test_tablespaces_of_other_places_are_left_out_or_made_in_place(message):
    said = advice(message)
    assert "pg_dump --no-tablespaces" in said
    assert "allow_in_place_tablespaces" in said


@pytest.mark.parametrize(
    "message",
    ['relation "en_US" does not exist', 'collation "mine" does not exist', "permission denied"],
)
def test_other_errors_have_no_advice(message):
    assert advice(message) is None
