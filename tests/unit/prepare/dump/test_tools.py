from pathlib import Path

import pytest
from support.dump_archives import write_archive

from sqlrs_engine.errors import DumpUnusable
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.dump.files import inspect
from sqlrs_engine.prepare.dump.tools import Tools

REFUSES = "pg_restore: warning: … (this build does not support compression with zstd)"


@pytest.fixture
def make(tmp_path):
    """Make distributions whose pg_restore prints a warning, and notes that it ran."""

    def distribution(version, *, warning="", programs=("psql", "pg_restore"), origin="installed"):
        bin_dir = tmp_path / f"{version}-{len([*tmp_path.iterdir()])}" / "bin"
        bin_dir.mkdir(parents=True)
        for name in programs:
            program = bin_dir / name
            program.write_text(
                f"#!/bin/sh\ncat >/dev/null\necho >> {bin_dir}/ran\necho '{warning}' >&2\n"
            )
            program.chmod(0o755)
        return Distribution(
            image_id=f"postgres@sha256:{version}",
            version=version,
            major=int(version.split(".")[0]),
            bin_dir=bin_dir,
            origin=origin,
        )

    return distribution


def header(tmp_path: Path, **head):
    return inspect(write_archive(tmp_path / "dump", "custom", **head)).header


def test_the_images_own_program_comes_first(make, tmp_path):
    own, same, newer = make("17.2"), make("17.6"), make("18.1")
    tool = Tools(lambda: [newer, same, own]).for_archive(own, header(tmp_path))
    assert (tool.distribution, tool.major, tool.by_script) == (own, 17, False)
    assert tool.name == "pg_restore 17"


def test_an_archive_of_a_newer_version_needs_a_newer_program(make, tmp_path):
    own, middle, newer = make("15.2"), make("16.1"), make("17.2")
    tools = Tools(lambda: [make("18.0"), newer, middle, own])
    assert tools.for_archive(own, header(tmp_path, version=(1, 15))).distribution == middle


def test_servers_before_17_get_a_script_from_newer_programs(make, tmp_path):
    own, newer = make("16.2"), make("17.2")
    tool = Tools(lambda: [newer, own]).for_archive(own, header(tmp_path))
    assert (tool.distribution, tool.by_script) == (newer, True)


def test_older_programs_are_never_used(make, tmp_path):
    own = make("18.2", programs=("psql",))
    with pytest.raises(DumpUnusable, match="postgres install 18"):
        Tools(lambda: [make("17.2")]).for_archive(own, header(tmp_path))


def test_a_program_has_to_decompress_the_data(make, tmp_path):
    own, other = make("18.1", warning=REFUSES), make("18.1")
    tools = Tools(lambda: [own, other])
    zstd = header(tmp_path, compression=3)
    assert tools.for_archive(own, zstd).distribution == other
    assert tools.for_archive(own, zstd).distribution == other
    assert (own.bin_dir / "ran").read_text() == "\n"


def test_gzip_needs_no_trial(make, tmp_path):
    own = make("18.1", warning=REFUSES)
    assert Tools(lambda: [own]).for_archive(own, header(tmp_path)).distribution == own
    assert not (own.bin_dir / "ran").exists()


def test_no_program_that_decompresses(make, tmp_path):
    own = make("18.1", warning=REFUSES)
    with pytest.raises(DumpUnusable, match="no pg_restore at hand decompresses zstd"):
        Tools(lambda: [own]).for_archive(own, header(tmp_path, compression=3))


def test_root_runs_no_program_of_an_image(make, tmp_path, monkeypatch):
    from dataclasses import replace

    clients = make("18.1")
    own = replace(make("17.2", origin="image"), clients=clients.bin_dir)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert Tools(lambda: [clients]).for_archive(own, header(tmp_path)).distribution == clients
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert Tools(lambda: [clients]).for_archive(own, header(tmp_path)).distribution == own


@pytest.mark.parametrize(
    ("version", "knows"),
    [("14.18", False), ("14.19", True), ("15.13", False), ("16.10", True), ("17.5", False)],
)
def test_restricted_scripts_need_a_psql_that_knows_them(make, version, knows):
    own, newest = make(version), make("18.0")
    tools = Tools(lambda: [newest, own])
    assert tools.for_script(own, restricts=False).distribution is None
    tool = tools.for_script(own, restricts=True)
    assert tool.distribution == (None if knows else newest)
    assert tool.name == f"psql {own.major if knows else 18}"


def test_no_psql_that_knows_restricted_scripts(make):
    own = make("17.5")
    with pytest.raises(DumpUnusable, match="postgres install 17"):
        Tools(lambda: [own]).for_script(own, restricts=True)
