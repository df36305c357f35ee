import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.store_samples import job, state

from sqlrs_engine.errors import Conflict, EngineError, StoreDamaged
from sqlrs_engine.store import StateFilter
from sqlrs_engine.store.sqlite import SqliteStore, schema

FIRST = ("CREATE TABLE a (x)", "INSERT INTO a VALUES (1)")
SECOND = ("ALTER TABLE a ADD COLUMN y", "UPDATE a SET y = x + 1")
BROKEN = ("CREATE TABLE b (x)", "CREATE TABLE b (x)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def test_a_new_database_is_private_and_logs_ahead(path: Path) -> None:
    SqliteStore(path).close()

    assert path.stat().st_mode & 0o777 == 0o600
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]
    assert ask(path, "PRAGMA user_version") == [(len(schema.STEPS),)]
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]  # incremental


def test_a_database_is_opened_again(path: Path) -> None:
    store = SqliteStore(path)
    store.states.add(state(1))
    store.close()

    store = SqliteStore(path)
    assert store.states.find(StateFilter()) == [state(1)]
    store.close()
    assert [each.name for each in path.parent.iterdir()] == ["state.db"]


def test_a_database_that_cannot_shrink_can_at_a_start_with_room(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")
    assert ask(path, "PRAGMA auto_vacuum") == [(0,)]
    with monkeypatch.context() as patch:
        patch.setattr(schema, "exhausted", lambda place, below: True)
        SqliteStore(path).close()
    assert ask(path, "PRAGMA auto_vacuum") == [(0,)]
    SqliteStore(path).close()
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]


def test_entities_and_records_fit_the_schema(path: Path) -> None:
    store = SqliteStore(path)
    store.database.check_tables()
    entities = store.database.entities
    for entity in (entities.State, entities.Instance, entities.Name, entities.Job, entities.Task):
        columns = {row[1] for row in ask(path, f"PRAGMA table_info({entity._table_})")}
        assert {attribute.name for attribute in entity._attrs_} == columns
    store.close()


def test_a_relative_path_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(Path("here.db"))
    store.states.add(state(1))
    store.close()

    assert ask(tmp_path / "here.db", "SELECT count(*) FROM states") == [(1,)]


def test_missing_steps_are_taken_in_order(path: Path) -> None:
    schema.prepare(path, [FIRST])
    schema.prepare(path, [FIRST, SECOND])
    schema.prepare(path, [FIRST, SECOND])

    assert ask(path, "SELECT x, y FROM a") == [(1, 2)]
    assert ask(path, "PRAGMA user_version") == [(2,)]


def test_all_steps_are_taken_from_the_start(path: Path) -> None:
    schema.prepare(path, [FIRST, SECOND])

    assert ask(path, "SELECT x, y FROM a") == [(1, 2)]


def test_a_database_of_the_first_version_keeps_its_states(path: Path) -> None:
    schema.prepare(path, schema.STEPS[:1])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "INSERT INTO states (state_id, image_id, prepare_kind, prepare_args_normalized, "
            "created_at) VALUES (?, ?, ?, ?, ?)",
            (
                state(1).state_id,
                state(1).image_id,
                state(1).prepare_kind,
                state(1).prepare_args_normalized,
                state(1).created_at,
            ),
        )

    store = SqliteStore(path)
    assert store.states.find(StateFilter()) == [state(1)]
    assert store.states.recipes(None, 10) == []
    store.close()


def test_the_events_of_an_earlier_version_are_kept_and_it_shrinks_from_then_on(path: Path) -> None:
    before_blocks = next(n for n, step in enumerate(schema.STEPS) if "DROP TABLE events" in step)
    schema.prepare(path, schema.STEPS[:before_blocks])
    lines = [b'{"n":%d}' % number for number in range(2500)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute(
            "INSERT INTO jobs (job_id, status, prepare_kind, image_id, created_at, request) "
            "VALUES (?, 'failed', 'psql', 'i', 'c', '{}')",
            (job(1).job_id,),
        )
        connection.executemany(
            "INSERT INTO events VALUES (?, ?, ?)",
            [(job(1).job_id, position, line) for position, line in enumerate(lines)],
        )
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA auto_vacuum = NONE")
        connection.execute("VACUUM")

    store = SqliteStore(path)
    assert store.jobs.event_count(job(1).job_id) == 2500
    assert store.jobs.events(job(1).job_id, 0, 5000) == lines
    assert store.jobs.events(job(1).job_id, 1999, 3) == lines[1999:2002]
    store.close()
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]


def test_a_step_that_fails_leaves_the_steps_before(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        schema.prepare(path, [FIRST, BROKEN])

    assert ask(path, "PRAGMA user_version") == [(1,)]
    assert ask(path, "SELECT name FROM sqlite_master") == [("a",)]

    schema.prepare(path, [FIRST, SECOND])
    assert ask(path, "SELECT x, y FROM a") == [(1, 2)]


def test_a_newer_database_is_refused_untouched(path: Path) -> None:
    schema.prepare(path, [FIRST, SECOND])
    before = path.read_bytes()

    with pytest.raises(Conflict, match=r"newer version of the engine.*schema 2.*up to 1.*upgrade"):
        schema.prepare(path, [FIRST])

    assert path.read_bytes() == before


def test_another_programs_database_is_refused_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE states (id TEXT)")

    with pytest.raises(Conflict, match=r"not this engine's.*move it away"):
        SqliteStore(path)

    assert ask(path, "SELECT name FROM sqlite_master") == [("states",)]
    assert ask(path, "PRAGMA journal_mode") == [("delete",)]


def test_what_is_no_database_is_refused_untouched(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 500)

    with pytest.raises(StoreDamaged, match="not an SQLite database"):
        SqliteStore(path)

    assert path.read_bytes() == b"Dear diary, " * 500


def test_a_database_that_cannot_be_opened_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"cannot be opened for writing.*check its perm"):
        SqliteStore(tmp_path / "missing" / "state.db")
    with pytest.raises(StoreDamaged, match="not a file"):
        SqliteStore(tmp_path)


def test_a_damaged_database_is_reported(path: Path) -> None:
    store = SqliteStore(path)
    store.jobs.add(job(1))
    store.close()
    damaged = bytearray(path.read_bytes())
    for start in range(4096, len(damaged), 4096):  # all pages but the first
        damaged[start : start + 100] = b"\xff" * 100
    path.write_bytes(damaged)

    with pytest.raises(StoreDamaged, match=r"damaged.*put a backup.*or move"):
        SqliteStore(path).jobs.find()


@pytest.mark.parametrize("table", ["jobs", "instances", "meta"])
def test_a_missing_table_is_reported(path: Path, table: str) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"DROP TABLE {table}")

    with pytest.raises(StoreDamaged, match=f"no table {table}"):
        SqliteStore(path)


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM jobs WHERE job_id >= 'ab' AND job_id < 'ac'",
        "SELECT * FROM states WHERE state_id >= 'ab' AND state_id < 'ac'",
        "SELECT * FROM instances WHERE instance_id >= 'ab' AND instance_id < 'ac'",
        "SELECT * FROM states WHERE parent_state_id = 'x'",
        "SELECT * FROM states WHERE boot_id IS NOT NULL",
        "SELECT count(*), sum(size_bytes) FROM states",
        "SELECT * FROM states s JOIN recipes r ON r.state_id = s.state_id "
        "WHERE s.parent_state_id IS NULL",
        "SELECT * FROM instances WHERE state_id = 'x'",
        "SELECT * FROM names WHERE instance_id = 'x' ORDER BY bound_at, name LIMIT 1",
        "SELECT * FROM jobs WHERE signature = 's' ORDER BY finished_at DESC, rowid DESC",
        "SELECT * FROM jobs WHERE status IN ('queued', 'running')",
        "SELECT * FROM tasks WHERE job_id = 'x'",
        "SELECT max(first + count) FROM event_blocks WHERE job_id = 'x'",
        "SELECT job_id FROM jobs WHERE finished_at < 'x' ORDER BY finished_at LIMIT 5",
        "SELECT job_id FROM jobs WHERE finished_at IS NOT NULL ORDER BY finished_at DESC",
    ],
)
def test_lookups_use_an_index(path: Path, query: str) -> None:
    schema.prepare(path)

    plan = " ".join(str(row[3]) for row in ask(path, f"EXPLAIN QUERY PLAN {query}"))

    assert "USING" in plan
    assert "TEMP B-TREE" not in plan


def test_a_table_that_goes_missing_is_reported(path: Path) -> None:
    store = SqliteStore(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE tasks")
    with pytest.raises(StoreDamaged, match="no such table: tasks"):
        store.jobs.tasks()
    store.close()
