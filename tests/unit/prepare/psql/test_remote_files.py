"""Files on a client's machine: asked for round by round, and planned like those on this one."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from support.prepare_fakes import psql_draft, psql_plan, psql_planner

from sqlrs_engine.errors import InvalidArgument, NotImplementedYet, SourceInputsMissing
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.plan import Plan
from sqlrs_engine.prepare.psql.step import StagedStep
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.sources import Blobs, Trees

DISTRIBUTION = Distribution(
    image_id="postgres@sha256:" + "ab" * 32, version="18.1", major=18, bin_dir=Path("/nowhere")
)
CLIENT = "/client/app"


@dataclass
class Client:
    """A client on another machine, which does as it is told."""

    blobs: Blobs
    files: dict[str, str]
    root: str = CLIENT
    manifest: dict[str, Any] = field(default_factory=dict)
    rounds: int = 0
    asked: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.planner = psql_planner(self.blobs)
        self.manifest = {
            "workspace_ref": {"root_path": self.root},
            "files": {},
            "directories": {},
        }

    def request(self, *args: str, **fields: Any) -> PrepareRequest:
        body = {
            "prepare_kind": "psql",
            "image_id": "postgres",
            "psql_args": list(args),
            "source_manifest": self.manifest,
            **fields,
        }
        request = PrepareRequest.from_json(body)
        assert PrepareRequest.from_json(request.to_json()) == request
        return request

    def plan(self, *args: str, **fields: Any) -> Plan:
        while True:
            request = self.request(*args, **fields)
            try:
                return psql_plan(self.planner, request, DISTRIBUTION)
            except SourceInputsMissing as error:
                self.answer(error.as_dict())

    def answer(self, missing: dict[str, Any]) -> None:
        self.rounds += 1
        for entry in missing.get("missing_manifest_entries", ()):
            self.asked.append(f"{entry['kind']} {entry['path']}")
            if entry["kind"] == "file_hash":
                content = self.files[entry["path"]].encode()
                digest = hashlib.sha256(content).hexdigest()
                self.manifest["files"][entry["path"]] = f"sha256:{digest}"
            else:
                self.manifest["directories"][entry["path"]] = {"entries": self.list(entry["path"])}
        for blob in missing.get("missing_blobs", ()):
            self.asked.append(f"blob {blob['path']}")
            self.upload(blob["path"])

    def list(self, directory: str) -> list[dict[str, str]]:
        prefix = "" if directory == "." else f"{directory}/"
        below = [name.removeprefix(prefix) for name in self.files if name.startswith(prefix)]
        assert below, f"no such directory: {directory}"
        kinds = {name.partition("/")[0]: "directory" if "/" in name else "file" for name in below}
        return [{"name": name, "kind": kind} for name, kind in kinds.items()]

    def upload(self, path: str) -> str:
        content = self.files[path].encode()
        digest = hashlib.sha256(content).hexdigest()
        with self.blobs.receive(digest, 1_000_000) as upload:
            upload.write(content)
            upload.finish()
        return digest


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def local_plan(directory: Path, files: dict[str, str], *args: str, **fields: Any) -> Plan:
    """Plan the same files from this machine."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    psql_args = [argument.replace(CLIENT, str(directory)) for argument in args]
    fields = {key: value.replace(CLIENT, str(directory)) for key, value in fields.items()}
    body = {"prepare_kind": "psql", "image_id": "postgres", "psql_args": psql_args, **fields}
    return psql_plan(psql_planner(), PrepareRequest.from_json(body), DISTRIBUTION)


TREE = {
    "sql/main.sql": "\\i tables.sql\n\\ir more/views.sql\n\\copy t from 'data/t.csv' csv\n",
    "sql/tables.sql": "create table t (id int);\n",
    "sql/more/views.sql": "\\ir ../common/one.sql\n\\i common/one.sql\n",
    "sql/common/one.sql": "create view v as select 1;\n",
    "sql/data/t.csv": "1\n2\n",
    "seed.sql": "insert into t values (3);\n",
    "unrelated.sql": "select 'never asked for';\n",
}


def test_remote_files_have_the_states_that_they_have_here(blobs: Blobs, tmp_path: Path) -> None:
    args = ("-v", "x=1", "-f", f"{CLIENT}/sql/main.sql", "-f", f"{CLIENT}/seed.sql")
    client = Client(blobs, TREE)
    plan = client.plan(*args)
    here = local_plan(tmp_path / "app", TREE, *args)
    assert plan.state_ids == here.state_ids
    assert plan.signature == here.signature
    assert client.asked[:2] == ["file_hash sql/main.sql", "file_hash seed.sql"]
    assert client.asked[2:4] == ["blob sql/main.sql", "blob seed.sql"]
    assert not [each for each in client.asked if "unrelated" in each]
    assert len(client.asked) == len(set(client.asked))
    assert client.rounds <= 8
    assert str(tmp_path) not in str([step.recipe for step in plan.steps])


def chain(*keys: str, end: str = "select 1;\n") -> dict[str, str]:
    """Scripts of which each includes the next."""
    following = [*keys[1:], None]
    files = {}
    for key, target in zip(keys, following, strict=True):
        up = "../" * key.count("/")
        files[key] = end if target is None else f"\\ir {up}{target}\n"
    return files


CHAINS = {
    "one directory": [f"sql/{n:02}.sql" for n in range(12)],
    "the workspace itself": [f"{n:02}.sql" for n in range(12)],
    "directories beside each other": [f"sql/m{n:02}/up.sql" for n in range(12)],
    "back and forth": [f"sql/{'ab'[n % 2]}/{n:02}.psql" for n in range(12)],
}


@pytest.mark.parametrize("keys", CHAINS.values(), ids=CHAINS)
def test_a_chain_of_includes_takes_no_more_rounds_than_clients_have(
    blobs: Blobs, keys: list[str]
) -> None:
    files = chain(*keys, end="\\copy t from 'rows.csv'\n")
    rows = f"{keys[0].rpartition('/')[0]}/rows.csv".lstrip("/")
    files |= {rows: "1\n", ".git/x.sql": "", "node_modules/x/y.sql": "", "sql/README": ""}
    client = Client(blobs, files)
    plan = client.plan("-f", f"{CLIENT}/{keys[0]}", work_dir=CLIENT)
    assert len(plan.steps[0].files) == 13
    assert client.rounds <= 8
    assert not [each for each in client.asked if ".git" in each or "README" in each]
    assert not [each for each in client.asked if "node_modules/" in each]


def test_nothing_is_prefetched_while_a_chain_of_includes_is_short(blobs: Blobs) -> None:
    files = chain("sql/a.sql", "sql/b.sql") | {"sql/large-dump.sql": "select 1;\n"}
    client = Client(blobs, files)
    client.plan("-f", f"{CLIENT}/sql/a.sql")
    assert not [each for each in client.asked if "large" in each]
    assert client.rounds <= 4


def test_files_that_the_engine_has_need_no_further_round(blobs: Blobs) -> None:
    client = Client(blobs, TREE)
    args = ("-f", f"{CLIENT}/sql/main.sql")
    client.plan(*args)
    again = client.rounds
    client.plan(*args)
    assert client.rounds == again


def test_an_empty_manifest_is_enough_for_commands(blobs: Blobs) -> None:
    body = {
        "prepare_kind": "psql",
        "image_id": "postgres",
        "psql_args": ["-c", "select 1"],
        "source_manifest": {},
    }
    request = PrepareRequest.from_json(body)
    plan = psql_plan(psql_planner(blobs), request, DISTRIBUTION)
    here = PrepareRequest.from_json({**body, "source_manifest": None})
    assert here.source_manifest is None
    assert plan.state_ids == psql_plan(psql_planner(), here, DISTRIBUTION).state_ids
    body["psql_args"] = ["-f", "/client/a.sql"]
    with pytest.raises(InvalidArgument, match="root_path"):
        psql_draft(psql_planner(blobs), PrepareRequest.from_json(body))


@pytest.mark.parametrize("work_dir", [None, CLIENT, f"{CLIENT}/sql"])
def test_remote_commands_look_in_the_working_directory(
    blobs: Blobs, tmp_path: Path, work_dir: str | None
) -> None:
    files = {"x.sql": "select 1;", "sql/x.sql": "select 2;"}
    fields = {"work_dir": work_dir} if work_dir else {}
    args = ("-c", "\\i x.sql", "-f", f"{CLIENT}/sql/x.sql")
    plan = Client(blobs, files).plan(*args, **fields)
    assert plan.state_ids == local_plan(tmp_path / "app", files, *args, **fields).state_ids


@pytest.mark.parametrize("work_dir", [CLIENT, "/elsewhere"])
def test_remote_scripts_look_in_their_own_directory(
    blobs: Blobs, tmp_path: Path, work_dir: str
) -> None:
    files = {
        "sql/main.sql": "\\i x.sql\n\\! make\n",
        "sql/x.sql": "select 2;",
        "x.sql": "select 1;",
    }
    args = ("-f", f"{CLIENT}/sql/main.sql")
    plan = Client(blobs, files).plan(*args, work_dir=work_dir)
    assert plan.state_ids == local_plan(tmp_path / "app", files, *args).state_ids


def test_the_working_directory_of_the_manifest_is_the_last_resort(blobs: Blobs) -> None:
    client = Client(blobs, {"sql/x.sql": "select 1;"})
    with pytest.raises(InvalidArgument, match="without a work_dir"):
        client.plan("-c", "\\i x.sql")
    client.manifest["workspace_ref"]["work_dir"] = f"{CLIENT}/sql"
    client.plan("-c", "\\i x.sql")
    assert client.asked[0] == "file_hash sql/x.sql"
    with pytest.raises(InvalidArgument, match="without a work_dir"):
        client.plan("-c", "\\i x.sql", work_dir="/elsewhere")


def test_remote_standard_input_may_include_files(blobs: Blobs, tmp_path: Path) -> None:
    files = {"sql/x.sql": "select 1;"}
    fields = {"stdin": "\\ir sql/x.sql\n", "work_dir": CLIENT}
    plan = Client(blobs, files).plan("-f", "-", **fields)
    assert plan.state_ids == local_plan(tmp_path / "app", files, "-f", "-", **fields).state_ids


def test_files_of_a_windows_client_have_the_states_that_they_have_here(
    blobs: Blobs, tmp_path: Path
) -> None:
    client = Client(blobs, TREE, root=r"C:\work\project")
    plan = client.plan("-f", r"c:\work\project\sql\main.sql")
    here = local_plan(tmp_path / "app", TREE, "-f", f"{CLIENT}/sql/main.sql")
    assert plan.state_ids == here.state_ids


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/client/app/../other.sql", "outside the workspace"),
        ("/etc/passwd", "outside the workspace"),
        (r"C:\a.sql", "outside the workspace"),
        ("sql/main.sql", "must be absolute"),
        (" ", "is empty"),
    ],
)
def test_files_outside_the_workspace_are_refused(blobs: Blobs, path: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Client(blobs, TREE).plan("-f", path)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("\\i /client/app/x.sql", "absolute paths in scripts"),
        ("\\copy t from '/etc/passwd'", "absolute paths in scripts"),
        ("\\copy t from 'C:\\data.csv'", "absolute paths in scripts"),
        ("\\i ~/x.sql", "absolute paths in scripts"),
        ("\\set d /client/app\n\\i :d/x.sql", "absolute paths in scripts"),
        ("\\cd /client/app\n\\i x.sql", "absolute paths in scripts"),
        ("\\i ../x.sql", "outside the workspace"),
        ("\\lo_import /etc/passwd", "absolute paths in scripts"),
    ],
)
def test_file_names_that_lead_outside_the_workspace_are_refused(
    blobs: Blobs, script: str, message: str
) -> None:
    client = Client(blobs, {"a.sql": script, "x.sql": ""})
    with pytest.raises(InvalidArgument, match=message) as caught:
        client.plan("-f", f"{CLIENT}/a.sql")
    assert f"{CLIENT}/a.sql:" in str(caught.value.details)


@pytest.mark.parametrize("option", ["-o", "-L", "--output", "--log-file"])
def test_options_that_write_files_are_refused_for_remote_clients(blobs: Blobs, option: str) -> None:
    with pytest.raises(InvalidArgument, match="another machine"):
        Client(blobs, {}).plan(option, "/client/out", "-c", "select 1")


def test_a_file_that_the_listing_lacks_is_an_error(blobs: Blobs) -> None:
    client = Client(blobs, {"a.sql": "\\if :x\n\\i b.sql\n\\endif\n\\i c.sql\n"})
    client.manifest["directories"]["."] = {"entries": [{"name": "a.sql", "kind": "file"}]}
    with pytest.raises(InvalidArgument, match="cannot read file") as caught:
        client.plan("-f", f"{CLIENT}/a.sql")
    assert caught.value.details == f"{CLIENT}/a.sql:4: {CLIENT}/c.sql"


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("name", ["b.sql", "sub/b.sql", "sub/er/b.sql"])
def test_an_optional_remote_file_is_looked_for(
    blobs: Blobs, tmp_path: Path, name: str, there: bool
) -> None:
    files = {"a.sql": f"\\if :x\n\\i {name}\n\\endif\n"} | ({name: "select 1;"} if there else {})
    client = Client(blobs, files)
    plan = client.plan("-f", f"{CLIENT}/a.sql")
    here = local_plan(tmp_path / "app", files, "-f", f"{CLIENT}/a.sql")
    assert plan.state_ids == here.state_ids
    assert (f"blob {name}" in client.asked) is there


def test_files_after_a_missing_include_are_not_guessed(blobs: Blobs, tmp_path: Path) -> None:
    files = {
        "a.sql": "\\set dir wrong\n\\i setup.sql\n\\i :dir/x.sql\n\\i out.sql\n",
        "setup.sql": "\\set dir right\n\\o out.sql\n\\i right/y.sql\n",
        "right/x.sql": "select 1;",
        "right/y.sql": "",
    }
    client = Client(blobs, files)
    plan = client.plan("-f", f"{CLIENT}/a.sql")
    assert "file_hash right/x.sql" in client.asked
    assert not [each for each in client.asked if "wrong" in each or "out.sql" in each]
    assert plan.steps[0].volatile is not None
    local_plan(tmp_path / "app", files, "-f", f"{CLIENT}/a.sql")


def test_a_recursive_remote_include_is_refused(blobs: Blobs) -> None:
    client = Client(blobs, {"a.sql": "\\ir b.sql", "b.sql": "\\ir a.sql"})
    with pytest.raises(InvalidArgument, match="recursive include"):
        client.plan("-f", f"{CLIENT}/a.sql")


def test_a_damaged_upload_is_asked_for_again(blobs: Blobs, tmp_path: Path) -> None:
    client = Client(blobs, {"a.sql": "select 1;"})
    client.plan("-f", f"{CLIENT}/a.sql")
    (path,) = (path for path in (tmp_path / "blobs").rglob("*") if path.is_file())
    path.unlink()
    client.plan("-f", f"{CLIENT}/a.sql")
    assert client.asked[-1] == "blob a.sql"
    path.write_text("damaged")
    client.planner = psql_planner(blobs)
    client.plan("-f", f"{CLIENT}/a.sql")
    assert client.asked[-2:] == ["blob a.sql", "blob a.sql"]


def test_an_engine_without_uploads_says_so() -> None:
    body = {"prepare_kind": "psql", "image_id": "postgres", "source_manifest": {}}
    with pytest.raises(NotImplementedYet):
        psql_draft(psql_planner(), PrepareRequest.from_json(body))


def test_psql_gets_staged_copies_in_their_places(blobs: Blobs, tmp_path: Path) -> None:
    client = Client(blobs, TREE)
    client.planner = psql_planner(blobs, Trees(tmp_path / "sources", blobs))
    plan = client.plan("-f", f"{CLIENT}/sql/main.sql", "-c", "select 1")
    script, command = plan.steps
    assert isinstance(script, StagedStep)
    assert isinstance(command, StagedStep)
    assert not (tmp_path / "sources").exists()
    arguments, directory = script.staged.stage(script.arguments, script.directory)
    file = Path(arguments.command_line()[-1])
    assert file.parent == directory
    assert file.read_text() == TREE["sql/main.sql"]
    assert (directory / "data/t.csv").read_text() == TREE["sql/data/t.csv"]
    tree = directory.parent
    assert {str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file()} == {
        name for name in TREE if name.startswith("sql/")
    }
    told = script.staged.with_client_paths(f"psql:{file}:3: ERROR:  no")
    assert told == f"psql:{CLIENT}/sql/main.sql:3: ERROR:  no"
    assert command.staged.stage(command.arguments, command.directory)[1] == directory
    assert script.changed_files == []
    (directory / "tables.sql").unlink()
    (directory / "tables.sql").write_text("written by a script")
    assert script.changed_files == [Path(CLIENT, "sql/tables.sql")]
    assert command.changed_files == []
    plan.close()
    assert list((tmp_path / "sources").iterdir()) == []
