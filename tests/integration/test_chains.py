"""Chains of stages on real PostgreSQL, and prepares that start from a state."""

from textwrap import dedent

import psycopg
import pytest
from support import fix_liquibase
from support.fix_store import Store, query

from sqlrs_engine.errors import InvalidArgument, NotFound
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.prepare.build import stretch

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(400)]

IMAGE = "postgres:18"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store(tmp_path_factory.mktemp("store"), IMAGE)
    store.patience = 300.0
    store.without_pool()
    yield store
    store.close()


def psql(*args, **fields):
    return {"kind": "psql", "psql_args": list(args), **fields}


def test_stages_run_in_order_and_have_the_states_of_the_same_psql_steps(store):
    one, two, three = ("create table c (n int)", "insert into c values (1)", "update c set n = 2")
    chained = store.chain(psql("-c", one), psql("-c", two, "-c", three))
    plain = store.prepare("-c", one, "-c", two, "-c", three)
    assert chained["state_id"] == plain["state_id"]
    assert chained["prepare_kind"] == "chain"
    assert query(chained, "select n from c") == 2
    job = store.submit_chain(psql("-c", one), psql("-c", two))
    store.wait(job)
    assert store.cached(job) == [True, True]


def test_options_of_a_stage_are_its_own(store):
    result = store.chain(
        psql("-v", "x=1", "-c", "create table o (n int)"),
        psql("-v", "x=2", "-f", "-", stdin="insert into o values (:x);\n"),
        psql("-v", "x=3", "-f", "-", stdin="insert into o values (:x);\n"),
    )
    assert query(result, "select string_agg(n::text, ',' order by n) from o") == "2,3"


def test_a_file_that_an_earlier_stage_writes_is_written_again(store, tmp_path):
    tmp_path.chmod(0o755)
    made = tmp_path / "made.sql"
    stages = (
        psql("-c", "select 'create table w (n int)' \\g " + str(made), work_dir=str(tmp_path)),
        psql("-f", str(made)),
    )
    made.write_text("create table w (n int);\n")
    first = store.submit_chain(*stages)
    store.wait(first)
    second = store.submit_chain(*stages)
    store.wait(second)
    assert store.cached(second)[0] is False


def test_a_chain_starts_from_a_state_or_from_that_of_a_name(store):
    base = store.prepare("-c", "create table f (n int)")
    store.engine.services.registry.bind("origin", base["instance_id"])
    insert = psql("-c", "insert into f values (7)")
    by_id = store.chain(insert, **{"from": {"state_id": base["state_id"]}})
    by_name = store.chain(insert, **{"from": {"name": "origin"}})
    whole = store.prepare("-c", "create table f (n int)", "-c", "insert into f values (7)")
    assert by_id["state_id"] == by_name["state_id"] == whole["state_id"]
    assert by_id["image_id"] == base["image_id"]
    assert query(by_id, "select n from f") == 7
    assert query(base, "select count(*) from f") == 0


def test_a_psql_prepare_starts_from_a_snapshot(store):
    instance = store.prepare("-c", "create table s (n int)")
    with psycopg.connect(instance["dsn"], autocommit=True) as connection:
        connection.execute("insert into s values (5)")
    state = store.engine.instances.promotion.promote(instance["instance_id"])
    body = {"from": {"state_id": state.state_id}}
    result = store.chain(psql("-c", "update s set n = n + 1"), **body)
    assert query(result, "select n from s") == 6


def test_a_state_to_start_from_has_to_exist(store):
    with pytest.raises(NotFound, match="state not found"):
        store.submit_chain(psql("-c", "select 1"), **{"from": {"state_id": "0" * 64}})
    with pytest.raises(NotFound, match="name not found"):
        store.submit_chain(psql("-c", "select 1"), **{"from": {"name": "nobody"}})


def test_the_explanation_of_a_chain_compares_with_what_was_made_of_the_same_state(store):
    base = store.prepare("-c", "create table e (n int)")
    origin = {"from": {"state_id": base["state_id"]}}
    store.chain(psql("-v", "x=1", "-f", "-", stdin="select :x;\n"), **origin)
    decision = store.explain(psql("-v", "x=2", "-f", "-", stdin="select :x;\n"), **origin)
    assert decision["decision"] == "miss"
    assert decision["changes"] == [{"kind": "variable", "name": "x", "step": 0}]


CHANGELOG = """\
    --liquibase formatted sql
    --changeset me:1
    create table l (n int);
    --changeset me:2
    insert into l values (1);
"""


@pytest.fixture
def changelog(tmp_path):
    fix_liquibase.found()
    tmp_path.chmod(0o755)
    path = tmp_path / "changelog.sql"
    path.write_text(dedent(CHANGELOG))
    return path


def liquibase(path):
    return {
        "kind": "lb",
        "liquibase_args": ["update", f"--changelog-file={path.name}"],
        "work_dir": str(path.parent),
    }


@pytest.mark.parametrize("mode", ["session", "command"])
def test_changelogs_and_scripts_in_one_chain(store, changelog, mode):
    store.engine.config.set("liquibase.mode", mode)
    try:
        before, after = psql("-c", f"create table {mode} ()"), psql("-c", "update l set n = 9")
        result = store.chain(before, liquibase(changelog), after)
        assert query(result, "select n from l") == 9
        assert query(result, f"select count(*) from {mode}") == 0
        with changelog.open("a") as file:
            file.write("--changeset me:3\ninsert into l values (3);\n")
        job_id = store.submit_chain(before, liquibase(changelog), after)
        job = store.wait(job_id)
        assert job.status == "succeeded", job.error
        assert store.cached(job_id) == [True, True, True, False, False]
        assert query(job.result, "select array_agg(n) from l") == [9, 9]
    finally:
        store.engine.config.remove("liquibase.mode")


@pytest.mark.parametrize("mode", ["session", "command"])
def test_a_changelog_goes_on_where_an_earlier_stage_ended(store, changelog, mode):
    store.engine.config.set("liquibase.mode", mode)
    try:
        first = store.chain(psql("-c", f"create table again_{mode} ()"), liquibase(changelog))
        with changelog.open("a") as file:
            file.write("--changeset me:3\ninsert into l values (3);\n")
        origin = {"from": {"state_id": first["state_id"]}}
        result = store.chain(liquibase(changelog), **origin)
        assert query(result, "select array_agg(n order by n) from l") == [1, 3]
        assert query(result, "select count(*) from databasechangelog") == 3
    finally:
        store.engine.config.remove("liquibase.mode")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "a chain needs stages"),
        ([{"kind": "sql"}], "unknown kind of a stage"),
        ([{"kind": "psql", "psql_arg": []}], "unknown field of a psql stage"),
        ([{"kind": "dump"}], "needs either path or dump_id"),
        ([{"kind": "dump", "path": "a.dump"}], "must be absolute"),
        ([{"kind": "command", "argv": []}], "needs argv"),
        ([{"kind": "command", "argv": ["x"]}], "needs work_dir"),
        ([psql("-c", "select 1"), psql("-f", "/no/such.sql")], "cannot read file"),
    ],
)
def test_chains_that_cannot_be_right(store, stages, message):
    with pytest.raises(InvalidArgument, match=message):
        store.submit_chain(*stages)


def test_changesets_that_share_a_server_share_the_session_as_well(store, tmp_path, monkeypatch):
    fix_liquibase.found()
    tmp_path.chmod(0o755)
    (tmp_path / "changelog.sql").write_text(
        "--liquibase formatted sql\n"
        + "".join(
            f"--changeset me:{n}\n{sql};\n"
            for n, sql in enumerate(
                [
                    "create schema other",
                    "create table public.t (id serial, who text default current_setting('a.b'))",
                    "set search_path = other, public",
                    "set a.b = 'me'",
                    *["insert into t default values"] * 5,
                    "create table here as select currval('t_id_seq') as last, * from t",
                    "reset a.b",
                    *["create table if not exists more (n int)"] * 5,
                ]
            )
        )
    )
    stage = liquibase(tmp_path / "changelog.sql")
    first = store.submit_chain(psql("-c", "select 'shared'"), stage)
    shared = store.wait(first).result
    assert shared is not None, store.wait(first).error
    ids = [task.output_state_id for task in store.store.jobs.tasks(first)]
    kept = [each for each in ids if each and store.engine.states.exists(each)]
    assert 3 <= len(kept) < 12
    assert query(shared, "select max(last) from here") == 5
    assert query(shared, "select count(*) from public.t where who = 'me'") == 5
    monkeypatch.setattr(stretch, "PAYS", 0)
    alone = store.chain(psql("-c", "select 'alone'"), stage)
    bin_dir = Distributions(store.root).resolve(IMAGE).bin_dir
    dumps = [fix_liquibase.dump(each["dsn"], bin_dir) for each in (shared, alone)]
    assert dumps[0] == dumps[1]
    plain = store.prepare()
    fix_liquibase.update(plain["dsn"], tmp_path, "update", "--changelog-file=changelog.sql")
    assert fix_liquibase.dump(plain["dsn"], bin_dir) == dumps[0]


@pytest.mark.parametrize(
    ("leave", "use"),
    [
        ("create temp table kept (n int)", "insert into kept values (1)"),
        ("prepare kept as select 1", "execute kept"),
    ],
)
def test_what_no_later_session_could_have_does_not_reach_the_next_changeset(
    store, tmp_path, leave, use
):
    """Whether a changeset works must not depend on where states are made."""
    fix_liquibase.found()
    tmp_path.chmod(0o755)
    more = [f"create table more_{n} ()" for n in range(4)]
    (tmp_path / "changelog.sql").write_text(
        "--liquibase formatted sql\n"
        + "".join(f"--changeset me:{n}\n{sql};\n" for n, sql in enumerate([leave, use, *more]))
    )
    job = store.wait(store.submit_chain(liquibase(tmp_path / "changelog.sql")))
    assert job.status == "failed"
    assert "kept" in job.error["details"]
    assert "does not exist" in job.error["details"]


def test_no_session_of_a_step_disturbs_the_next_one_on_the_same_server(store):
    leaves = (
        "\\! setsid psql -X -c 'begin' -c 'lock table l' -c 'select pg_sleep(300)' "
        ">/dev/null 2>&1 & until psql -XAtc \"select 'granted' from pg_locks where "
        "relation = 'l'::regclass and granted\" | grep granted; do :; done"
    )
    inserts = [arg for n in range(4) for arg in ("-c", f"insert into l values ({n})")]
    result = store.chain(psql("-c", "create table l (n int)", "-c", leaves, *inserts))
    assert query(result, "select count(*) from l") == 4


def test_each_step_has_a_password_that_is_valid(store, tmp_path):
    def command(sql):
        argv = ["psql", "-Xqc", sql]
        return {"kind": "command", "argv": argv, "inputs": [], "work_dir": str(tmp_path)}

    changes = "alter role sqlrs password 'other'"
    result = store.chain(command(changes), *(command(f"create table p{n} ()") for n in range(4)))
    assert query(result, "select count(*) from pg_tables where tablename ~ '^p[0-3]$'") == 4
