"""Advice about objects of extensions that no script has created."""

from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.build.object_advice import object_advice

USED = Distribution(
    image_id="postgres@sha256:" + "0" * 64,
    version="18.6",
    major=18,
    bin_dir=Path("/nowhere/bin"),
    origin="wheel",
    extensions=("btree_gist", "citext", "hstore", "pg_trgm", "unaccent", "uuid-ossp", "vector"),
)


def advice(message, used=USED):
    return object_advice(message, used, lambda extension: [])


@pytest.mark.parametrize(
    ("message", "extension"),
    [
        ('type "public.vector" does not exist', "vector"),
        ('type "citext" does not exist', "citext"),
        ("function uuid_generate_v4() does not exist", '"uuid-ossp"'),
        ("function public.uuid_generate_v4() does not exist", '"uuid-ossp"'),
        ("function unaccent(text) does not exist", "unaccent"),
        ("function public.similarity(text, character varying) does not exist", "pg_trgm"),
        ('operator class "public.gin_trgm_ops" does not exist for access method "gin"', "pg_trgm"),
        ('access method "hnsw" does not exist', "vector"),
        ('text search dictionary "unaccent" does not exist', "unaccent"),
        (
            'data type integer has no default operator class for access method "gist"',
            "btree_gist",
        ),
    ],
)
def test_an_object_of_an_extension_that_was_not_created(message, extension):
    said = advice(message)
    assert said.endswith(f"before this step (-c 'CREATE EXTENSION IF NOT EXISTS {extension}')")


def test_the_extension_goes_to_the_schema_in_which_it_is_expected():
    assert advice('type "extensions.citext" does not exist').endswith(
        "(-c 'CREATE SCHEMA IF NOT EXISTS extensions; "
        "CREATE EXTENSION IF NOT EXISTS citext SCHEMA extensions')"
    )


def test_an_extension_that_is_not_here_either_comes_with_the_way_to_get_it():
    said = advice('type "public.geometry" does not exist')
    assert "postgis'); PostgreSQL 18.6 has no extension postgis: " in said
    assert said.endswith("prepare with --image postgis/postgis:18-3.6")


@pytest.mark.parametrize(
    "message",
    [
        'type "public.mood" does not exist',
        "function my_function(integer) does not exist",
        'relation "vector" does not exist',
        'column "citext" does not exist',
        'type "vector" already exists',
        'data type json has no default operator class for access method "btree"',
    ],
)
def test_what_no_extension_creates_has_no_advice(message):
    assert advice(message) is None
