"""The command line with streams that are not as they should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def call(
    *arguments: str, closed: tuple[int, ...] = (), **variables: str
) -> subprocess.CompletedProcess[bytes]:
    def close() -> None:
        for descriptor in closed:
            os.close(descriptor)

    return subprocess.run(
        [sys.executable, "-m", "sqlrs_engine", *arguments],
        capture_output=True,
        timeout=120,
        check=False,
        preexec_fn=close,
        env={**os.environ, **variables},
    )


@pytest.mark.parametrize("closed", [(0,), (1,), (0, 1), (0, 1, 2)])
def test_closed_streams_are_no_hindrance(tmp_path: Path, closed: tuple[int, ...]) -> None:
    place = ["--state-dir", str(tmp_path / "state")]
    told = call("prepare", "--no-start", *place, "--", "-f", "x.sql", closed=closed)
    assert told.returncode == 3
    assert 2 in closed or b"no engine is running" in told.stderr
    assert call("status", *place, closed=closed).returncode == 3


def test_characters_that_an_encoding_lacks_are_escaped() -> None:
    told = call("prepare", "--help", PYTHONIOENCODING="ascii")
    assert told.returncode == 0
    assert rb"[options] -- ARGUMENT\u2026" in told.stdout
