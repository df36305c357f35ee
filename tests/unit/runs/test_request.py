"""runs: what a request means, and which ones are refused."""

import json

import pytest

from sqlrs_engine.errors import Conflict, InvalidArgument
from sqlrs_engine.runs.arguments import connection_argument
from sqlrs_engine.runs.request import RunRequest, RunStep


def request(**fields):
    return RunRequest.from_json({"instance_ref": "demo", "kind": "psql", **fields})


def test_arguments_and_input_are_one_invocation():
    made = request(args=["-f", "-"], stdin="select 1")
    assert made.instance_ref == "demo"
    assert made.program == "psql"
    assert made.invocations() == (RunStep(("-f", "-"), "select 1"),)


def test_steps_are_invocations_in_their_order():
    steps = [{"args": ["-c", "select 1"]}, {"args": ["-f", "-"], "stdin": "select 2;\n"}]
    assert request(args=[], steps=steps).invocations() == (
        RunStep(("-c", "select 1")),
        RunStep(("-f", "-"), "select 2;\n"),
    )


@pytest.mark.parametrize("steps", [None, []])
def test_null_stands_for_absent(steps):
    made = request(args=None, stdin=None, steps=steps, command=None, unknown=1)
    assert made.program == "psql"
    assert made.invocations() == (RunStep(()),)
    assert request(steps=[{"args": None, "stdin": None}]).invocations() == (RunStep(()),)


def test_reference_kind_and_command_are_trimmed():
    made = RunRequest.from_json(
        {"instance_ref": " demo\n", "kind": " PgBench ", "command": " pg_dump "}
    )
    assert (made.instance_ref, made.kind, made.program) == ("demo", "pgbench", "pg_dump")
    assert request(command=" ").program == "psql"


@pytest.mark.parametrize("ref", [None, "", "  "])
def test_an_instance_is_required(ref):
    with pytest.raises(InvalidArgument, match=r"^instance_ref is required$"):
        RunRequest.from_json({"instance_ref": ref, "kind": "no such"})


@pytest.mark.parametrize("kind", [None, "", "mysql"])
def test_the_kind_is_psql_or_pgbench(kind):
    with pytest.raises(InvalidArgument, match=r"^unknown run kind"):
        request(kind=kind)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "pgbench"}, "steps are only supported for run:psql"),
        ({"args": ["-A"]}, "steps cannot be combined with args"),
        ({"stdin": "x"}, "steps cannot be combined with stdin"),
    ],
)
def test_steps_exclude_the_rest(fields, message):
    made = request(steps=[{"args": ["-c", "select 1"]}], **fields)
    with pytest.raises(InvalidArgument) as caught:
        made.invocations()
    assert caught.value.as_dict() == {"code": "invalid_argument", "message": message}


@pytest.mark.parametrize("kind", ["psql", "pgbench"])
def test_connection_arguments_conflict(kind):
    with pytest.raises(Conflict) as caught:
        request(kind=kind, args=["-h", "db.example"]).invocations()
    assert caught.value.message == f"conflicting {kind} connection arguments"
    assert caught.value.details.startswith("-h: ")


def test_a_conflict_is_reported_before_what_steps_exclude():
    steps = [{"args": ["-c", "select 1"]}, {"args": ["--port=1"]}]
    for fields in ({"args": ["-q"], "steps": steps}, {"kind": "pgbench", "steps": steps}):
        with pytest.raises(Conflict):
            request(**fields).invocations()


# Each says where the program would connect to, one way or the other.
CONNECTIONS = [
    ["-h", "x"],
    ["-hx"],
    ["-p5433"],
    ["-port"],
    ["-U", "me"],
    ["-d", "other"],
    ["-dother"],
    ["--host", "x"],
    ["--host=x"],
    ["--port=1"],
    ["--username=me"],
    ["--dbname=other"],
    ["--database=other"],
    ["--user", "me"],
    ["--db=other"],
    ["postgres://localhost/other"],
    ["host=/tmp dbname=other"],
    ["--", "postgres://localhost/other"],
    ["--", "-x", "host=/tmp"],
    ["-", "postgresql://localhost"],
]
PSQL_CONNECTIONS = [
    ["-Ath", "x"],
    ["-qhx"],
    ["-c", "select 1", "-h", "x"],
    ["-cselect", "-h", "x"],
    ["--command", "select 1", "-hx"],
    ["--csv", "-hx"],
    ["--pset=null=x", "-d", "y"],
]
PGBENCH_CONNECTIONS = [["-i", "-s", "1", "-h", "x"], ["-nU", "me"], ["--client", "2", "-p", "1"]]

NO_CONNECTIONS = [[], ["other"], ["-"], ["--"], ["--", "other", "-h"], [""], ["-X", "-q"], ["--=x"]]
PSQL_NO_CONNECTIONS = [
    ["-c", "select 'http://localhost' = 'a'"],
    ["-Atc", "select 'x=y'"],
    ["-c", "-h"],
    ["-v", "a=b"],
    ["-va=b"],
    ["-qv", "host=x"],
    ["--set", "a=b"],
    ["--var", "a=b"],
    ["--variable=host=x"],
    ["--command", "select 1 = 1"],
    ["--pset", "null=://"],
    ["-F", "="],
    ["-P", "pager=off"],
    ["-f", "/tmp/a=b"],
    ["-vx=-h", "-A"],
    ["-fhost"],
    ["-c"],
    ["--command"],
    ["-1", "-b", "-e", "-E", "-s", "-S", "-t", "-x", "-z", "-0", "-V", "-?"],
]
PGBENCH_NO_CONNECTIONS = [
    ["-i", "-s", "1"],
    ["-n", "-f", "/dev/stdin", "-t", "5"],
    ["-D", "a=b"],
    ["--define", "a=b"],
    ["--protocol=prepared", "--progress", "1", "--jobs", "2"],
    ["-Mprepared", "-S", "-r", "-C", "-l", "-N"],
    ["--max-tries", "3", "--time=2", "--rate", "100"],
    ["-Idtgvp"],
]


@pytest.mark.parametrize("args", CONNECTIONS + PSQL_CONNECTIONS, ids=" ".join)
def test_psql_may_not_be_told_where_to_connect(args):
    assert connection_argument("psql", args) in args


@pytest.mark.parametrize("args", CONNECTIONS + PGBENCH_CONNECTIONS, ids=" ".join)
def test_pgbench_may_not_be_told_where_to_connect(args):
    assert connection_argument("pgbench", args) in args


@pytest.mark.parametrize("args", NO_CONNECTIONS + PSQL_NO_CONNECTIONS, ids=" ".join)
def test_what_only_looks_like_a_connection_is_let_through_to_psql(args):
    assert connection_argument("psql", args) is None


@pytest.mark.parametrize("args", NO_CONNECTIONS + PGBENCH_NO_CONNECTIONS, ids=" ".join)
def test_what_only_looks_like_a_connection_is_let_through_to_pgbench(args):
    assert connection_argument("pgbench", args) is None


# What the sqlrs command line sends for: run:psql -c … -f q.sql; run:psql -v … -c …;
# run:pgbench -i -s 1; run:pgbench -n -f bench.sql -t 5; prepare … run:psql -Atc …
CLI_BODIES = [
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"psql","args":[],'
    '"steps":[{"args":["-c","select 1"]},{"args":["-f","-"],"stdin":"select 1;\\n"}]}',
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"psql","args":[],'
    '"steps":[{"args":["-v","ON_ERROR_STOP=1","-c","select nope"]}]}',
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"pgbench","args":["-i","-s","1"]}',
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"pgbench",'
    '"args":["-n","-f","/dev/stdin","-t","5"],"stdin":"select 1;\\n"}',
    '{"instance_ref":"d4349babbb121597feca9555e08e67bc","kind":"psql","args":[],'
    '"steps":[{"args":["-Atc","select count(*) from a"]}]}',
]


@pytest.mark.parametrize("body", CLI_BODIES)
def test_what_the_command_line_sends_is_accepted(body):
    fields = json.loads(body)
    given = fields.get("steps") or [fields]
    invocations = RunRequest.from_json(fields).invocations()
    assert [(list(step.args), step.stdin) for step in invocations] == [
        (step["args"], step.get("stdin")) for step in given
    ]


@pytest.mark.parametrize(
    ("program", "args"),
    [
        ("pgbench", ["--log", "-h", "x"]),  # no abbreviation of --log-prefix
        ("pg_dump", ["-c", "-h127.0.0.1"]),
        ("pg_dump", ["-ch127.0.0.1"]),
        ("pg_dump", ["-Fc", "-Z", "5", "-hx"]),
        ("pg_dump", ["--data", "-h", "x"]),
        ("pg_dump", ["--hos=x"]),
        ("pg_dump", ["-d", "host=/tmp"]),
        ("pg_dump", ["-dpostgresql://x/y"]),
        ("pg_dump", ["--db=host=x"]),
        ("pg_dump", ["host=x"]),
        ("pg_dumpall", ["-l", "host=x"]),
        ("pg_restore", ["-d", "host=x", "dump"]),
        ("createdb", ["--maintenance-db=postgresql://x/y", "new"]),
        ("createdb", ["--main", "host=x", "new"]),
        ("createdb", ["-eph", "x"]),
        ("dropdb", ["--maintenance-db", "postgres://x", "old"]),
        ("createuser", ["-dh", "x", "role"]),
        ("vacuumdb", ["-zh", "x"]),
        ("vacuumdb", ["-d", "host=x"]),
        ("pg_amcheck", ["--install-missing", "-h", "x"]),
        ("pg_recvlogical", ["--start", "-h", "x"]),
        ("oid2name", ["-Hx"]),
        ("shp2pgsql", ["-hx"]),
        ("shp2pgsql", ["--host", "x"]),
        ("shp2pgsql", ["postgresql://x"]),
    ],
)
def test_no_program_may_be_told_where_to_connect(program, args):
    assert connection_argument(program, args) in args


@pytest.mark.parametrize(
    ("program", "args"),
    [
        ("pg_dump", ["-c", "-Fc", "-f", "-h", "postgres"]),
        ("pg_dump", ["-d", "postgres", "-t", "a=b"]),
        ("pg_dump", ["--table", "-h"]),
        ("pg_restore", ["-d", "postgres", "/tmp/a=b.dump"]),
        ("pg_restore", ["-l", "dump"]),
        ("createdb", ["-T", "template0", "-O", "-h", "new", "a = b"]),
        ("createdb", ["--maintenance-db=postgres", "new"]),
        ("createuser", ["-d", "-c", "5", "role"]),
        ("vacuumdb", ["-z", "-t", "a", "-d", "postgres"]),
        ("pg_recvlogical", ["-o", "a=b", "-d", "postgres"]),
        ("shp2pgsql", ["-s", "4326", "a.shp"]),
    ],
)
def test_what_only_looks_like_a_connection_is_let_through_to_other_programs(program, args):
    assert connection_argument(program, args) is None


def test_the_options_are_those_of_the_program_that_runs():
    made = request(command="pg_dump", args=["-c", "-h127.0.0.1"])
    with pytest.raises(Conflict, match="pg_dump"):
        made.invocations()
