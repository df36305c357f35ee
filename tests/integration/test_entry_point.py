"""The scripts that images run in a new cluster, on a real server."""

import gzip
import lzma
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.waiting import eventually

from sqlrs_engine.errors import Cancelled
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.distribution import Distribution, EntryPoint
from sqlrs_engine.postgres.entry_point import run_scripts
from sqlrs_engine.processes.cancellation import Cancellation

pytestmark = pytest.mark.postgres

Scripts = dict[str, str | bytes]
Run = Callable[..., tuple[list[str], list[str]]]


@pytest.fixture
def directory() -> Iterator[Path]:
    """The directory of the scripts, which the servers' user can enter."""
    with tempfile.TemporaryDirectory(prefix="sqlrs-test-scripts ") as place:
        Path(place).chmod(0o755)
        yield Path(place)


@pytest.fixture
def cluster(wheel_postgres: Distribution, make_cluster: Callable[..., Cluster]) -> Cluster:
    cluster = make_cluster(wheel_postgres)
    cluster.start(port=None)
    return cluster


@pytest.fixture
def run(cluster: Cluster, directory: Path) -> Run:
    """Run scripts, the executable ones being those that begin with ``#!``.

    Returns what they printed and the failures.
    """

    def run_them(scripts: Scripts, **environment: str) -> tuple[list[str], list[str]]:
        paths = []
        for name, text in scripts.items():
            path = directory / name
            path.write_bytes(text if isinstance(text, bytes) else text.encode())
            path.chmod(0o755 if str(text).startswith("#!") else 0o644)
            paths.append(path)
        entry_point = EntryPoint(scripts=tuple(paths), environment=tuple(environment.items()))
        cluster.distribution = replace(cluster.distribution, entry_point=entry_point)
        lines: list[str] = []
        return lines, run_scripts(cluster, Cancellation(), lines.append)

    return run_them


def query(cluster: Cluster, text: str) -> list[object]:
    with cluster.connect(None) as connection:
        return [value for (value,) in connection.execute(text)]


def test_every_kind_of_script_runs_in_order(run, cluster):
    _, failures = run(
        {
            "10.sql": "CREATE TABLE done (id serial, what text);",
            "20_sourced.sh": 'set -e\n"${psql[@]}" --dbname="$POSTGRES_DB" <<-\'EOSQL\'\n'
            "\tINSERT INTO done (what) VALUES ('sourced');\nEOSQL\n",
            "30_function.sh": "docker_process_sql -c \"INSERT INTO done(what) VALUES('function')\"",
            "40_own.sh": '#!/bin/sh\npsql -U "$POSTGRES_USER" -c "INSERT INTO done(what) '
            "VALUES('own')\"",
            "50.sql.gz": gzip.compress(b"INSERT INTO done (what) VALUES ('gz');"),
            "60.sql.xz": lzma.compress(b"INSERT INTO done (what) VALUES ('xz');"),
        }
    )
    assert failures == []
    assert query(cluster, "SELECT what FROM done ORDER BY id") == [
        "sourced",
        "function",
        "own",
        "gz",
        "xz",
    ]


def test_a_failure_is_reported_and_the_next_script_runs(run, cluster):
    lines, failures = run(
        {
            "10_shell.sh": "echo before; no-such-program; echo after",
            "20.sql": "CREATE TABLE half ();\nSELECT 1/0;\nCREATE TABLE other_half ();",
            "30.sql": "CREATE TABLE whole ();",
        }
    )
    assert [each.partition(": ")[0] for each in failures] == [
        "10_shell.sh of the image failed",
        "20.sql of the image failed",
    ]
    assert "no-such-program" in failures[0]
    assert "division by zero" in failures[1]
    assert "10_shell.sh: before" in lines
    assert "10_shell.sh: after" not in lines
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    assert query(cluster, tables) == ["half", "whole"]


def test_scripts_see_the_images_variables_but_none_that_leads_elsewhere(run, cluster):
    lines, _ = run(
        {"10.sh": 'env; [ -f "$PGDATA/PG_VERSION" ] && echo found'},
        PG_MAJOR="18",
        PATH="/opt",
        PGHOSTADDR="192.0.2.1",
        LD_PRELOAD="/x.so",
        LOCPATH="/x",
        GCONV_PATH="/x",
    )
    told = {line.removeprefix("10.sh: ") for line in lines}
    assert {"PG_MAJOR=18", "POSTGRES_USER=postgres", "POSTGRES_DB=postgres", "found"} <= told
    assert not [
        each for each in told if each.startswith(("LD_", "PGHOSTADDR=", "LOCPATH=", "GCONV"))
    ]
    path = next(each for each in told if each.startswith("PATH="))
    assert path.startswith(f"PATH={cluster.distribution.bin_dir}:")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_scripts_never_run_as_root(run, cluster):
    lines, _ = run({"10.sh": "id -u", "20_own.sh": "#!/bin/sh\nid -u"})
    owner = cluster.data_dir.stat().st_uid
    assert owner != 0
    assert lines == [f"10.sh: {owner}", f"20_own.sh: {owner}"]


def test_a_cancelled_script_ends(cluster, directory):
    script = directory / "10.sh"
    script.write_text("echo begun; sleep 600")
    entry_point = EntryPoint(scripts=(script,))
    cluster.distribution = replace(cluster.distribution, entry_point=entry_point)
    cancellation = Cancellation()
    lines: list[str] = []

    def cancel() -> None:
        eventually(lambda: bool(lines), "the script's beginning")
        cancellation.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    with pytest.raises(Cancelled):
        run_scripts(cluster, cancellation, lines.append)
    thread.join()
