"""Linters and generators of others: what they say of the document, and whether clients work.

npm's tools are installed once per environment, beside it; those that cannot be had are
skipped.
"""

import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from support.fix_engine import EngineProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "openapi" / "sqlrs-engine.yaml"
PACKAGES = (
    "@redocly/cli@2.77.0",
    "@stoplight/spectral-cli@6.16.3",
    "@hey-api/openapi-ts@0.95.0",
    "orval@7.13.2",
    "typescript@5.9.3",
)
UNREACHABLE = re.compile(
    r"E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH)"
)
QUIET = {
    "JITI_CACHE": "false",  # which leaves files in the temporary directory
    "JITI_FS_CACHE": "false",
    "NO_COLOR": "1",
    "REDOCLY_TELEMETRY": "off",
    "REDOCLY_SUPPRESS_UPDATE_NOTICE": "true",
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_ignore_scripts": "true",
    "npm_config_prefer_offline": "true",
    "npm_config_update_notifier": "false",
}


def execute(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **QUIET},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def succeed(*command: str, cwd: Path) -> str:
    """Run a program that has to succeed, and return what it printed."""
    done = execute(*command, cwd=cwd)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-10_000:]
    return output


@pytest.fixture(scope="module")
def programs() -> Path:
    """The directory of npm's programs."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("node and npm are not installed")
    version = execute("node", "--version", cwd=ROOT).stdout
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        pytest.skip(f"the tools need Node 20 or newer, not {version.strip()}")
    versions = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    place = Path(sys.prefix) / "share" / f"npm-{versions}"
    if not place.exists():
        draft = place.with_name(f"{place.name}.{os.getpid()}")
        try:
            draft.mkdir(parents=True)
            done = execute("npm", "install", "--no-save", *PACKAGES, cwd=draft)
            if done.returncode != 0 and UNREACHABLE.search(done.stderr):
                pytest.skip("the npm registry cannot be reached")
            assert done.returncode == 0, done.stdout + done.stderr
            draft.rename(place)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    return place / "node_modules" / ".bin"


@pytest.fixture(scope="module")
def openapi_generator() -> list[str]:
    """The command of openapi-generator, which is a Java program in a wheel."""
    if not shutil.which("java"):
        pytest.skip("java is not installed")
    package = pytest.importorskip("openapi_generator_cli")
    # It runs for seconds only: what the second compiler of the JVM does never pays.
    return [
        "java",
        "-XX:TieredStopAtLevel=1",
        "-XX:+UseSerialGC",
        "-jar",
        str(Path(package.__file__).with_name("openapi-generator.jar")),
    ]


def check_types(programs: Path, sources: Path) -> None:
    """Compile TypeScript without writing anything."""
    options = ["--strict", "--skipLibCheck", "--target", "es2022", "--module", "esnext"]
    options += ["--moduleResolution", "bundler", "--lib", "es2022,dom,dom.iterable"]
    files = [str(path) for path in sources.rglob("*.ts")]
    assert files
    succeed(str(programs / "tsc"), "--noEmit", *options, *files, cwd=sources)


def test_redocly_has_nothing_to_say(programs: Path) -> None:
    config = ROOT / "openapi" / "redocly.yaml"
    succeed(str(programs / "redocly"), "lint", f"--config={config}", str(DOCUMENT), cwd=ROOT)


def test_spectral_has_nothing_to_say(programs: Path) -> None:
    rules = ROOT / "openapi" / "spectral.yaml"
    command = ["lint", f"--ruleset={rules}", "--fail-severity=warn", str(DOCUMENT)]
    succeed(str(programs / "spectral"), *command, cwd=ROOT)


def test_hey_api_makes_a_client_with_right_types(programs: Path, tmp_path: Path) -> None:
    succeed(str(programs / "openapi-ts"), "-i", str(DOCUMENT), "-o", "made", cwd=tmp_path)
    check_types(programs, tmp_path / "made")


def test_orval_makes_a_client_with_right_types(programs: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "api.ts"
    config = tmp_path / "orval.config.js"
    settings = {"input": str(DOCUMENT), "output": {"target": str(output), "client": "fetch"}}
    config.write_text(f"module.exports = {json.dumps({'sqlrs': settings})};\n")
    succeed(str(programs / "orval"), f"--config={config}", cwd=tmp_path)
    check_types(programs, output.parent)


def test_openapi_generator_makes_typescript_with_right_types(
    openapi_generator: list[str], programs: Path, tmp_path: Path
) -> None:
    generate = ["generate", "-i", str(DOCUMENT), "-g", "typescript-fetch", "-o", "made"]
    succeed(*openapi_generator, *generate, cwd=tmp_path)
    check_types(programs, tmp_path / "made")


@pytest.fixture(scope="module")
def made_python(
    openapi_generator: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModuleType]:
    """The package that openapi-generator makes without special settings."""
    directory = tmp_path_factory.mktemp("openapi-generator")
    assert "No validation issues" in succeed(
        *openapi_generator, "validate", "--recommend", "-i", str(DOCUMENT), cwd=directory
    )
    generate = ["generate", "-i", str(DOCUMENT), "-g", "python", "-o", "."]
    succeed(*openapi_generator, *generate, cwd=directory)
    sys.path.insert(0, str(directory))
    yield importlib.import_module("openapi_client")
    sys.path.remove(str(directory))
    for name in [name for name in sys.modules if name.partition(".")[0] == "openapi_client"]:
        del sys.modules[name]


@pytest.mark.postgres
@pytest.mark.filterwarnings("ignore")  # generated code is not ours
def test_the_client_of_openapi_generator_prepares_lists_and_deletes(
    engine: EngineProcess, made_python: ModuleType
) -> None:
    configuration = made_python.Configuration(host=engine.base_url, access_token=engine.token)
    with made_python.ApiClient(configuration) as client:
        jobs, instances = made_python.JobsApi(client), made_python.InstancesApi(client)
        request = made_python.PrepareRequest(
            prepare_kind="psql", image_id="postgres", psql_args=["-c", "select 1"]
        )
        job_id = jobs.create_prepare_job(request, idempotency_key="k").job_id
        assert jobs.create_prepare_job(request, idempotency_key="k").job_id == job_id
        engine.events(job_id)
        result = jobs.get_prepare_job(job_id).result
        made = instances.create_instance(made_python.InstanceRequest(state_id=result.state_id))
        rows = instances.list_instances()
        assert {row.instance_id for row in rows} == {result.instance_id, made.instance_id}
        foreseen = instances.delete_instance(made.instance_id, dry_run=True)
        assert foreseen.outcome == "would_delete"
        assert instances.delete_instance(made.instance_id).outcome == "deleted"
        with pytest.raises(made_python.ApiException) as refused:
            made_python.StatesApi(client).delete_state(result.state_id)
        assert refused.value.data.root.blocked == "has_descendants"
        # It asks for JSON wherever there can be any, and means the answer all the same.
        assert "sqlrs" in made_python.MetricsApi(client).get_metrics()
        assert made_python.ConfigApi(client).get_config(effective=True)
