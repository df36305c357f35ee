"""The TypeScript of docs/clients.md, with types generated from the document."""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fix_engine import EngineProcess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).resolve().parents[2]
UNREACHABLE = re.compile(
    r"E(NOTFOUND|AI_AGAIN|CONNREFUSED|CONNRESET|TIMEDOUT|NETUNREACH|HOSTUNREACH)"
)
# Each line after a directive must not compile, and everything else must.
WRONG_CALLS = """
import type { components } from "./engine.js";
import type { Engine } from "./streams.js";

type Schemas = components["schemas"];

export async function wrong(client: Engine, job: Schemas["JobStatus"]): Promise<void> {
  // @ts-expect-error no such path
  await client.GET("/v1/nothing");
  // @ts-expect-error no such method
  await client.PUT("/v1/prepare-jobs");
  // @ts-expect-error the body is missing
  await client.POST("/v1/prepare-jobs");
  // @ts-expect-error no such kind
  const request: Schemas["PrepareRequest"] = { prepare_kind: "nothing", image_id: "postgres" };
  // @ts-expect-error the result may be missing
  job.result.dsn;
  // @ts-expect-error no such status
  job.status === "cancelled";
  const { data, error } = await client.GET("/v1/instances");
  // @ts-expect-error the list may be missing
  data.length;
  for (const row of data ?? []) {
    const id: string = row.instance_id;
    const name: string | undefined = row.name;
    // @ts-expect-error lists have no DSNs
    row.dsn;
    void [id, name];
  }
  const code: string | undefined = error?.code;
  const answer = await client.DELETE("/v1/states/{stateId}", {
    params: { path: { stateId: "0" }, query: { recurse: true } },
  });
  const outcome: "deleted" | "would_delete" | "blocked" | undefined = answer.data?.outcome;
  void [request, code, outcome];
}
"""


def blocks(language: str) -> list[str]:
    """The code blocks of the document's chapter on TypeScript."""
    document = (ROOT / "docs" / "clients.md").read_text()
    chapter = document.partition("\n## TypeScript\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)


def execute(commands: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    quiet = {"npm_config_audit": "false", "npm_config_fund": "false", "NO_COLOR": "1"}
    return subprocess.run(
        ["bash", "-ec", commands],
        cwd=cwd,
        env={
            **os.environ,
            **quiet,
            "npm_config_ignore_scripts": "true",
            "npm_config_prefer_offline": "true",
            "npm_config_update_notifier": "false",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A package with the generated types and the document's modules."""
    if not (shutil.which("npm") and shutil.which("node")):
        pytest.skip("node and npm are not installed")
    directory = tmp_path_factory.mktemp("typescript")
    (directory / "openapi").symlink_to(ROOT / "openapi")
    (directory / "package.json").write_text('{"private": true, "type": "module"}\n')
    (directory / "tsconfig.json").write_text(*blocks("json"))
    streams, program = blocks("ts")
    (directory / "streams.ts").write_text(streams)
    (directory / "prepare.ts").write_text(program)
    (directory / "wrong.ts").write_text(WRONG_CALLS)
    done = execute(blocks("sh")[0], directory)
    if done.returncode != 0 and UNREACHABLE.search(done.stderr):
        pytest.skip("the npm registry cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr
    yield directory
    shutil.rmtree(directory / "node_modules")


def test_types_are_right(project: Path) -> None:
    done = execute("npx tsc --noEmit", project)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.postgres
def test_the_program_prepares_follows_runs_and_deletes(
    engine: EngineProcess, project: Path
) -> None:
    commands = blocks("sh")[1]
    assert "~/.local/state/sqlrs/engine.json" in commands
    commands = commands.replace("~/.local/state/sqlrs/engine.json", str(engine.endpoint_file))
    done = execute(commands, project)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "status queued"
    assert "status succeeded" in lines
    assert "stdout 42" in lines
    assert lines[-2:] == ["exit 0", "deleted"]
    assert engine.call("GET", "/v1/instances").json() == []
