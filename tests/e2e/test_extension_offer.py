"""A prepare that lacks an extension, at a terminal and elsewhere."""

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from support.fix_engine import environment
from support.shell import Shell
from support.typing_at_terminals import answered

from sqlrs_engine.postgres.distributions.distribution import Distribution

pytestmark = pytest.mark.postgres

PREPARE = ("prepare", "--", "-c", "CREATE EXTENSION vector")


@pytest.fixture
def without_vector(wheel_postgres: Distribution) -> Iterator[Path]:
    """The programs of a PostgreSQL like the bundled one, which comes before it."""
    site = Path(tempfile.mkdtemp(prefix="sqlrs-test-"))
    site.chmod(0o755)
    package = wheel_postgres.root.parent
    for directory in (package, *wheel_postgres.library_dirs):
        subprocess.run(["cp", "-a", directory, site], check=True)
    home = site / package.name / wheel_postgres.root.name
    for control in home.rglob("vector.control"):
        control.unlink()
    with (home / "bin" / "postgres").open("ab") as program:
        program.write(b"\0")  # another build, by its hash
    yield home / "bin"
    shutil.rmtree(site)


@pytest.fixture
def shell(tmp_path: Path, without_vector: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path, PATH=f"{without_vector}:{os.environ['PATH']}")
    yield shell
    shell.close()


def test_the_offer_is_accepted_declined_and_left_out(
    shell: Shell, wheel_postgres: Distribution
) -> None:
    piped = shell.run(*PREPARE)
    assert piped.returncode == 1
    assert 'ERROR:  extension "vector" is not available' in piped.stderr
    advice = f"prepare with --image {wheel_postgres.image_id} of this machine"
    assert f"advice: PostgreSQL {wheel_postgres.version} has no extension vector: {advice}" in (
        piped.stderr
    )
    facts = json.loads(shell.run("prepare", "--json", *PREPARE[1:]).stdout)["error"]["facts"]
    assert facts["extension"] == "vector"
    assert facts["use"] == wheel_postgres.image_id

    question = f"vector is in {wheel_postgres.image_id}, which is here: go on with it? [Y/n] "
    environ = environment(shell.home, **shell.environ)
    command = shell.command(*PREPARE)
    code, output, shown = answered(command, environ, shell.home, question, "n\n")
    assert (code, output) == (1, "")
    assert "advice: " in shown

    code, output, shown = answered(command, environ, shell.home, question, "\n")
    assert code == 0, shown
    with psycopg.connect(output.strip()) as connection:
        row = connection.execute("SELECT '[1,2]'::vector <-> '[1,4]'").fetchone()
        assert row == (2.0,)
