"""The running engine against its OpenAPI document: every phase and every check of schemathesis.

``schemathesis.toml`` at the root has the settings, so that the command line finds the same
failures: see its first lines.
"""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]
# Operations of services that this version may lack; they are tested once they are there.
OPTIONAL = {
    "createRun": ("POST", "/v1/runs", {"instance_ref": "0" * 32, "kind": "psql"}),
    "getCacheStatus": ("GET", "/v1/cache/status", None),
    "explainPrepare": (
        "POST",
        "/v1/cache/explain/prepare",
        {"prepare_kind": "psql", "image_id": "postgres", "psql_args": ["-c", "select 1"]},
    ),
}


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
            *(f"--exclude-operation-id={name}" for name in missing(engine)),
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


def missing(engine):
    """Return the operations that answer 501."""
    headers = {"Authorization": f"Bearer {engine.token}"}
    with httpx.Client(base_url=engine.base_url, headers=headers, timeout=30) as client:
        return [
            name
            for name, (method, path, body) in OPTIONAL.items()
            if client.request(method, path, json=body).status_code == 501
        ]
