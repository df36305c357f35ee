"""The running engine against its OpenAPI document: every phase and every check of schemathesis.

``schemathesis.toml`` at the root has the settings, so that the command line finds the same
failures: see its first lines.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_engine_keeps_its_contract(engine, tmp_path):
    result = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")),
            "run",
            str(ROOT / "openapi" / "sqlrs-engine.yaml"),
            f"--url={engine.base_url}",
        ],
        cwd=ROOT,
        env={
            **os.environ,
            "SQLRS_TOKEN": engine.token,
            "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    # Failing cases may have bodies of megabytes.
    report = "\n".join(line[:500] for line in result.stdout.splitlines())
    assert result.returncode == 0, report[-20_000:] + result.stderr[-2_000:]
