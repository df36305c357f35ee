"""A large image like the official ones, run as every distribution: PostGIS, languages, locales.

All tests use one engine and one image store, so that the image is pulled and initialised once per
process.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ndjson
import psycopg
import pytest
from support import fix_liquibase
from support.fix_engine import EngineProcess, engines
from support.fix_images import PushedImage
from support.image_engines import images, value
from support.postgres_images import PRELOADS

# The first test waits for the download of the packages, if they are not in the cache.
pytestmark = [pytest.mark.postgres, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def engine(postgis: PushedImage, shared_image_store: Path) -> Iterator[EngineProcess]:
    environ = {"SQLRS_IMAGE_STORE": str(shared_image_store)}
    with engines() as make:
        yield make("--idle-timeout", "0", environ=environ).start()


@pytest.fixture(scope="module")
def reference(postgis: PushedImage) -> str:
    """The digest: registries of other processes have other ports and the same content."""
    return postgis.by_digest


@pytest.fixture(scope="module")
def dsn(engine: EngineProcess, reference: str) -> str:
    """An instance for tests that leave nothing behind in it."""
    result = engine.prepare("-c", "create schema own", image=reference)
    found: str = result["dsn"]
    return found


def test_postgis_measures_and_transforms(dsn: str) -> None:
    assert "POSTGIS=" in value(dsn, "select postgis_full_version()")
    assert "PROJ=" in value(dsn, "select postgis_full_version()")
    square = "st_geomfromtext('POLYGON((0 0, 0 3, 2 3, 2 0, 0 0))')"
    assert value(dsn, f"select st_area({square})") == 6
    # The projections are in a database that PROJ finds by itself.
    point = "st_transform(st_setsrid(st_makepoint(18.6, 54.4), 4326), 2180)"
    assert value(dsn, f"select round(st_x({point}))") == pytest.approx(473_900, abs=2_000)


def test_a_spatial_index_is_used(engine: EngineProcess, reference: str) -> None:
    script = """
        create table places as
            select n, st_setsrid(st_makepoint(n % 100, n / 100), 4326) as place
            from generate_series(0, 9999) n;
        create index places_place on places using gist (place);
        analyze places;
    """
    dsn = engine.prepare("-c", script, image=reference)["dsn"]
    box = "place && st_makeenvelope(10, 10, 12, 12, 4326)"
    with psycopg.connect(dsn) as connection:
        plan = connection.execute(f"explain select * from places where {box}").fetchall()
        assert any("places_place" in line for (line,) in plan), plan
        assert connection.execute(f"select count(*) from places where {box}").fetchone() == (9,)


def test_rasters_have_their_drivers(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create extension postgis_raster")
        connection.execute("set postgis.gdal_enabled_drivers = 'ENABLE_ALL'")
        row = connection.execute("select count(*) from st_gdaldrivers()").fetchone()
        assert row is not None
        assert row[0] > 10
        connection.rollback()


@pytest.mark.parametrize(
    "extension",
    ["pgcrypto", "uuid-ossp", "xml2", "pg_partman", "hypopg", "pg_cron", "postgis_sfcgal"],
)
def test_an_extension_of_the_image_can_be_created(dsn: str, extension: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(f'create extension "{extension}" cascade')
        connection.rollback()


def test_languages_find_their_libraries(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("create extension plpython3u")
        connection.execute(
            "create function os_of() returns text language plpython3u as $$\n"
            "import json, decimal, unicodedata\n"
            "return json.dumps(unicodedata.name('ß'))\n$$"
        )
        assert connection.execute("select os_of()").fetchone() == ('"LATIN SMALL LETTER SHARP S"',)
        connection.execute("create extension plperlu")
        connection.execute(
            "create function digest_of(text) returns text language plperlu as $$\n"
            "use Digest::SHA; return Digest::SHA::sha1_hex($_[0]);\n$$"
        )
        row = connection.execute("select digest_of('abc')").fetchone()
        assert row == ("a9993e364706816aba3e25717850c26c9cd0d89d",)
        connection.rollback()


def test_expressions_are_compiled(dsn: str) -> None:
    """The just-in-time compiler comes with the largest library of the image."""
    with psycopg.connect(dsn) as connection:
        connection.execute("set jit = on")
        if connection.execute("select pg_jit_available()").fetchone() == (False,):
            pytest.skip("this PostgreSQL was built without LLVM")
        connection.execute("set jit_above_cost = 0")
        query = "explain (analyze) select sum(n * 2) from generate_series(1, 10) n"
        plan = connection.execute(query).fetchall()
        assert any("Functions:" in line for (line,) in plan), plan


def test_the_locale_is_that_of_the_image(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select datcollate, pg_encoding_to_char(encoding) from pg_database "
            "where datname = current_database()"
        ).fetchone()
        assert row is not None
        assert (row[0].lower().replace("-", ""), row[1]) == ("en_us.utf8", "UTF8")
        words = connection.execute(
            "select string_agg(w, ' ' order by w) from unnest(array['b', 'B', 'a', 'ä', 'z']) w"
        ).fetchone()
        assert words == ("a ä b B z",)
        assert connection.execute("select upper('ä')").fetchone() == ("Ä",)
        # initdb makes collations of the locales that it finds, and ICU brings its own.
        for collation in ("en_US.utf8", "de-x-icu"):
            row = connection.execute(f"select 'ö' < 'z' collate \"{collation}\"").fetchone()
            assert row == (True,), collation


def test_time_zones_are_those_of_the_image(dsn: str) -> None:
    assert value(dsn, "select count(*) > 300 from pg_timezone_names")
    summer = "timestamptz '2026-07-01 12:00 Europe/Warsaw' at time zone 'UTC'"
    assert str(value(dsn, f"select {summer}")) == "2026-07-01 10:00:00"


def test_libraries_of_the_sample_are_preloaded(dsn: str) -> None:
    loaded = value(dsn, "show shared_preload_libraries").replace(" ", "").split(",")
    assert set(PRELOADS) <= set(loaded)
    with psycopg.connect(dsn) as connection:
        connection.execute("create extension pg_stat_statements")
        connection.execute("select count(*) from pg_stat_statements")
        connection.rollback()


def test_scripts_for_the_entry_point_have_run(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("select script from site order by script").fetchall()
        assert rows == [("20_site.sql",), ("30_site.sh",)]
        templates = connection.execute(
            "select datname from pg_database where datistemplate order by 1"
        ).fetchall()
        assert ("template_site",) in templates


def test_it_is_listed_with_its_extensions(
    engine: EngineProcess, postgis: PushedImage, dsn: str
) -> None:
    (image,) = (each for each in images(engine) if each["digest"] == postgis.image.digest)
    assert {"postgis", "pg_cron", "hypopg", "plpython3u", "pgcrypto"} <= set(image["extensions"])
    assert image["size_bytes"] > 300_000_000
    assert value(dsn, "show server_version").startswith(image["version"])


def test_an_instance_is_reset_and_becomes_a_state(engine: EngineProcess, reference: str) -> None:
    made = engine.prepare("-c", "create table kept (place geometry)", image=reference)
    path = f"/v1/instances/{made['instance_id']}"
    with psycopg.connect(made["dsn"], autocommit=True) as connection:
        connection.execute("insert into kept values (st_makepoint(1, 2))")
    state = engine.call("POST", f"{path}/snapshot")
    assert state.status_code == 201, state.text
    assert engine.call("POST", f"{path}/reset?force=true").status_code == 200
    assert value(made["dsn"], "select count(*) from kept") == 0
    body = {"state_id": state.json()["state_id"]}
    clone = engine.call("POST", "/v1/instances", json=body).json()
    assert value(clone["dsn"], "select st_astext(place) from kept") == "POINT(1 2)"


def test_the_second_prepare_runs_nothing(engine: EngineProcess, reference: str) -> None:
    """With the warm pool as it is by default: standbys have the image's programs as well."""
    first = engine.prepare("-c", "create table twice ()", image=reference)
    again = engine.prepare("-c", "create table twice ()", image=reference)
    assert again["state_id"] == first["state_id"]
    assert again["instance_id"] != first["instance_id"]
    assert value(again["dsn"], "select count(*) from twice") == 0


def run(engine: EngineProcess, instance: str, kind: str, *args: str, **fields: Any) -> str:
    """Return what a run prints; it must succeed."""
    body = {"instance_ref": instance, "kind": kind, "args": args, **fields}
    answer = engine.call("POST", "/v1/runs", json=body)
    assert answer.status_code == 200, answer.text
    events = list(ndjson.reader(iter(answer.text.splitlines())))
    assert events[-1]["type"] == "exit", events
    assert events[-1]["exit_code"] == 0, events
    return "".join(each["data"] for each in events if each["type"] == "stdout")


def test_programs_of_the_image_run(engine: EngineProcess, reference: str) -> None:
    made = engine.prepare("-c", "create table run ()", image=reference)
    instance = made["instance_id"]
    version = value(made["dsn"], "show server_version")
    assert version in run(engine, instance, "psql", "-Atc", "show server_version")
    run(engine, instance, "pgbench", "-i", "-q")
    assert "tps" in run(engine, instance, "pgbench", "-t", "10")
    (image,) = (each for each in images(engine) if each["image_id"] == made["image_id"])
    dump = subprocess.run(
        [Path(image["bin_dir"]) / "pg_dump", "--schema-only", made["dsn"]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "CREATE TABLE public.pgbench_accounts" in dump.stdout
    assert f"by pg_dump version {version}" in dump.stdout


def test_liquibase_applies_a_changelog(
    engine: EngineProcess, reference: str, tmp_path: Path
) -> None:
    fix_liquibase.found()
    (tmp_path / "changes.sql").write_text(
        "--liquibase formatted sql\n"
        "--changeset a:one\ncreate table c (place geometry(Point, 4326));\n"
        "--changeset a:two\ncreate index c_place on c using gist (place);\n"
    )
    body = {
        "prepare_kind": "lb",
        "image_id": reference,
        "work_dir": str(tmp_path),
        "liquibase_args": ["update", "--changelog-file", "changes.sql"],
    }
    answer = engine.call("POST", "/v1/prepare-jobs", json=body)
    assert answer.status_code == 201, answer.text
    events = engine.events(answer.json()["job_id"])
    job = engine.call("GET", answer.json()["status_url"]).json()
    assert job["status"] == "succeeded", events
    assert value(
        job["result"]["dsn"], "select count(*) from pg_indexes where indexname = 'c_place'"
    )


def test_the_servers_programs_are_in_the_image(
    engine: EngineProcess, reference: str, shared_image_store: Path
) -> None:
    """Nothing of the machine's own PostgreSQL is in the server's memory."""
    dsn = engine.prepare("-c", "select 1", image=reference)["dsn"]
    with psycopg.connect(dsn) as connection:
        connection.execute("select postgis_full_version()")
        pid = connection.info.backend_pid
        maps = Path("/proc", str(pid), "maps").read_text()
    files = {line.split()[-1] for line in maps.splitlines() if line.split()[-1].startswith("/")}
    libraries = {file for file in files if ".so" in file or "/bin/" in file}
    assert libraries
    outside = {file for file in libraries if not Path(file).is_relative_to(shared_image_store)}
    assert outside == set()
