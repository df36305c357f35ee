import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support.store_samples import job, state

from sqlrs_engine.errors import Conflict, EngineError, StoreDamaged
from sqlrs_engine.store import StateFilter
from sqlrs_engine.store.sqlite import SqliteStore, schema

VERSION_1 = Path(__file__).with_name("schema_1.sql").read_text()

CREATE = ("CREATE TABLE a (x)", "INSERT INTO a VALUES (1)")
UPGRADE = ("ALTER TABLE a ADD COLUMN y", "UPDATE a SET y = x + 1")
BROKEN = ("CREATE TABLE b (x)", "CREATE TABLE b (x)")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def make_version_1(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)


def structure(path: Path) -> dict[str, object]:
    """Return the tables, columns, foreign keys and indexes of a database."""
    found: dict[str, object] = {}
    for (table,) in ask(path, "SELECT name FROM sqlite_master WHERE type = 'table'"):
        found[f"table {table}"] = ask(path, f"PRAGMA table_xinfo({table})")
        found[f"keys of {table}"] = ask(path, f"PRAGMA foreign_key_list({table})")
        for _, index, *properties in ask(path, f"PRAGMA index_list({table})"):
            columns = ask(path, f"PRAGMA index_xinfo({index})")
            found[f"index {index}"] = (table, properties, columns)
    for index, sql in ask(path, "SELECT name, sql FROM sqlite_master WHERE type = 'index'"):
        _, _, condition = str(sql).partition("WHERE")
        found[f"condition of {index}"] = " ".join(condition.split())
    return found


def test_a_new_database_is_private_and_has_a_write_ahead_log(path: Path) -> None:
    SqliteStore(path).close()

    assert path.stat().st_mode & 0o777 == 0o600
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]
    assert ask(path, "PRAGMA user_version") == [(len(schema.UPGRADES) + 1,)]
    assert ask(path, "PRAGMA auto_vacuum") == [(2,)]  # incremental


def test_a_database_is_opened_again(path: Path) -> None:
    store = SqliteStore(path)
    store.states.add(state(1))
    store.close()

    store = SqliteStore(path)
    assert store.states.find(StateFilter()) == [state(1)]
    store.close()
    assert [each.name for each in path.parent.iterdir()] == ["state.db"]


def test_a_start_with_room_makes_an_older_database_shrinkable(
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


def test_new_and_upgraded_databases_have_the_same_schema(tmp_path: Path) -> None:
    new, upgraded = tmp_path / "new.db", tmp_path / "upgraded.db"
    make_version_1(upgraded)

    schema.prepare(new)
    schema.prepare(upgraded)

    assert structure(upgraded) == structure(new)
    assert ask(upgraded, "PRAGMA user_version") == ask(new, "PRAGMA user_version")


def test_a_relative_path_is_below_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = SqliteStore(Path("here.db"))
    store.states.add(state(1))
    store.close()

    assert ask(tmp_path / "here.db", "SELECT count(*) FROM states") == [(1,)]


def test_missing_upgrades_are_applied_in_order(path: Path) -> None:
    for upgrades in ([], [UPGRADE], [UPGRADE]):
        schema.prepare(path, lambda: CREATE, upgrades)

    assert ask(path, "SELECT x, y FROM a") == [(1, 2)]
    assert ask(path, "PRAGMA user_version") == [(2,)]


def test_a_new_database_needs_no_upgrade(path: Path) -> None:
    schema.prepare(path, lambda: CREATE, [UPGRADE])

    assert ask(path, "SELECT * FROM a") == [(1,)]
    assert ask(path, "PRAGMA user_version") == [(2,)]


def test_a_database_of_the_first_version_keeps_its_states(path: Path) -> None:
    make_version_1(path)
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
    make_version_1(path)
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


def test_an_upgrade_that_fails_leaves_the_version_before(path: Path) -> None:
    schema.prepare(path, lambda: CREATE, [])
    with pytest.raises(sqlite3.OperationalError):
        schema.prepare(path, lambda: CREATE, [BROKEN])

    assert ask(path, "PRAGMA user_version") == [(1,)]
    assert ask(path, "SELECT name FROM sqlite_master") == [("a",)]

    schema.prepare(path, lambda: CREATE, [UPGRADE])
    assert ask(path, "SELECT x, y FROM a") == [(1, 2)]


def test_a_creation_that_fails_can_be_repeated(path: Path) -> None:
    with pytest.raises(sqlite3.OperationalError):
        schema.prepare(path, lambda: BROKEN, [])

    schema.prepare(path, lambda: CREATE, [])
    assert ask(path, "SELECT x FROM a") == [(1,)]


def test_a_newer_database_is_refused_untouched(path: Path) -> None:
    schema.prepare(path, lambda: CREATE, [UPGRADE])
    before = path.read_bytes()

    with pytest.raises(Conflict, match=r"newer version of the engine.*schema 2.*up to 1.*upgrade"):
        schema.prepare(path, lambda: CREATE, [])

    assert path.read_bytes() == before


def test_another_programs_database_is_refused_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE states (id TEXT)")

    with pytest.raises(Conflict, match=r"not this engine's.*move it away"):
        SqliteStore(path)

    assert ask(path, "SELECT name FROM sqlite_master") == [("states",)]
    assert ask(path, "PRAGMA journal_mode") == [("delete",)]


def test_a_file_that_is_no_database_is_refused_untouched(path: Path) -> None:
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

    with pytest.raises(StoreDamaged, match=f"no such table: {table}"):
        SqliteStore(path)


def test_a_missing_column_is_reported(path: Path) -> None:
    SqliteStore(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("ALTER TABLE meta RENAME COLUMN value TO other")

    with pytest.raises(StoreDamaged, match=r"no such column: .*value"):
        SqliteStore(path)


def test_a_table_that_goes_missing_while_open_is_reported(path: Path) -> None:
    store = SqliteStore(path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE tasks")
    with pytest.raises(StoreDamaged, match="no such table: tasks"):
        store.jobs.tasks()
    store.close()
