"""Which of the PostgreSQLs in an image is meant, and its version."""

from pathlib import Path

import pytest
from support.elf_files import write
from support.fake_image_roots import add_server, inside

from sqlrs_engine.errors import ImageUnusable
from sqlrs_engine.postgres.images.root_tree import RootTree
from sqlrs_engine.postgres.images.server_programs import ServerPrograms, find_programs


def _found(root: Path, **environment: str) -> ServerPrograms:
    return find_programs(RootTree(root), environment)


def test_the_version_is_read_from_the_program(tmp_path):
    add_server(tmp_path, version="17.2")
    found = _found(tmp_path)
    assert (found.version, found.major) == ("17.2", 17)
    assert found.banner == "postgres (PostgreSQL) 17.2 (Debian)"
    assert set(found.paths) == {"postgres", "initdb", "psql"}


def test_betas_have_versions_too(tmp_path):
    add_server(tmp_path, version="19beta2")
    assert (_found(tmp_path).version, _found(tmp_path).major) == ("19beta2", 19)


def test_the_path_decides_among_several(tmp_path):
    for major in (15, 16, 17):
        add_server(tmp_path, f"/usr/lib/postgresql/{major}/bin", f"{major}.1")
    found = _found(tmp_path, PATH="/usr/bin:/usr/lib/postgresql/16/bin:/usr/lib/postgresql/17/bin")
    assert found.major == 16


def test_pg_major_decides_before_the_path(tmp_path):
    for major in (15, 16):
        add_server(tmp_path, f"/usr/lib/postgresql/{major}/bin", f"{major}.1")
    assert _found(tmp_path, PATH="/usr/lib/postgresql/16/bin", PG_MAJOR="15").major == 15


def test_without_a_hint_the_newest_counts(tmp_path):
    for major in (9, 14, 16):
        add_server(tmp_path, f"/usr/lib/postgresql/{major}/bin", f"{major}.1")
    assert _found(tmp_path, PATH="/usr/bin").major == 16


@pytest.mark.parametrize(
    "place", ["/usr/local/bin", "/opt/bitnami/postgresql/bin", "/usr/pgsql-17/bin", "/usr/bin"]
)
def test_usual_places_are_searched(tmp_path, place):
    add_server(tmp_path, place)
    assert _found(tmp_path, PATH="/sbin").server == inside(tmp_path, place) / "postgres"


def test_a_link_in_the_path_leads_to_the_programs(tmp_path):
    home = add_server(tmp_path, "/usr/libexec/postgresql17")
    (tmp_path / "usr/bin").mkdir()
    (tmp_path / "usr/bin/postgres").symlink_to("../libexec/postgresql17/postgres")
    assert _found(tmp_path).paths["initdb"] == home / "initdb"


def test_programs_that_are_not_postgresqls_are_left_alone(tmp_path):
    names = ("postgres", "initdb", "psql", "bash", "raster2pgsql")
    add_server(tmp_path, "/usr/bin", programs=names)
    write(tmp_path / "usr/bin/pg_wrapper", b"#!/usr/bin/perl")
    assert set(_found(tmp_path).paths) == {*names} - {"bash"}


def test_an_image_without_a_server_is_unusable(tmp_path):
    add_server(tmp_path, programs=("psql", "pg_dump"))
    with pytest.raises(ImageUnusable, match="the image has no PostgreSQL server"):
        _found(tmp_path)


def test_a_script_named_postgres_is_no_server(tmp_path):
    write(tmp_path / "usr/bin/postgres", b"#!/bin/sh")
    write(tmp_path / "usr/bin/initdb", b"#!/bin/sh")
    with pytest.raises(ImageUnusable, match="the image has no PostgreSQL server"):
        _found(tmp_path)


def test_an_old_version_is_unusable_and_named(tmp_path):
    add_server(tmp_path, "/usr/lib/postgresql/13/bin", "13.22")
    with pytest.raises(ImageUnusable, match=r"has PostgreSQL 13\.22, and 14 is the oldest"):
        _found(tmp_path, PG_MAJOR="13")
