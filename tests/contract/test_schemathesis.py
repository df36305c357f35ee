"""The running engine against its OpenAPI document: every phase and every check of schemathesis.

``schemathesis.toml`` at the root has the settings, so that the command line finds the same
failures: see its first lines.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.fix_engine import EngineProcess

from sqlrs_engine.httpapi import spec

ROOT = Path(__file__).parents[2]
OPERATIONS = {
    operation["operationId"]
    for item in spec.document()["paths"].values()
    for method, operation in item.items()
    if method != "parameters"
}


@pytest.mark.postgres
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("phases", "least"), [("examples,coverage,fuzzing", 5000), ("stateful", 50)]
)
def test_the_engine_keeps_its_contract(
    engine: EngineProcess, tmp_path: Path, phases: str, least: int
) -> None:
    counted = tmp_path / "cases.json"
    # An invented image is nothing to bother a registry with.
    pulls = engine.call("PATCH", "/v1/config", json={"path": "images.pull", "value": "never"})
    assert pulls.status_code == 200
    made = engine.prepare("-c", "create table t (id int)", "-c", "insert into t values (1)")
    name = engine.call("PUT", "/v1/names/demo", json={"instance_id": made["instance_id"]})
    assert name.status_code == 201
    assert engine.call("POST", "/v1/dumps", content=b"a dump").status_code == 201
    result = subprocess.run(
        [
            str(Path(sys.executable).with_name("st")),
            "run",
            str(ROOT / "openapi" / "sqlrs-engine.yaml"),
            f"--url={engine.base_url}",
            f"--phases={phases}",
        ],
        cwd=ROOT,
        env={
            # It is the engine whose lines count, not those of schemathesis.
            **{name: v for name, v in os.environ.items() if not name.startswith("COVERAGE_")},
            "SQLRS_TOKEN": engine.token,
            "SQLRS_CASES": str(counted),
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
    cases = {tuple(key.split()): count for key, count in json.loads(counted.read_text()).items()}
    assert sum(cases.values()) >= least
    if "fuzzing" in phases:
        assert OPERATIONS - {name for name, status in cases if status < "300"} == set()
