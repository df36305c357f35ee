"""The log: one line a record, levels, rotation, no secrets."""

import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from sqlrs_engine.daemon import logs

log = logging.getLogger("sqlrs_engine.prepare")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "engine.log"


@pytest.fixture
def logfile(path: Path) -> Iterator[Path]:
    with logs.logging_to(path, "debug") as held:
        held.stop_holding()
        yield path
    logging.getLogger("sqlrs_engine").setLevel(logging.NOTSET)


def test_a_record_is_one_line_of_keys_and_values(logfile: Path) -> None:
    log.info('two\nlines and "quotes"')
    (line,) = logfile.read_text().splitlines()
    assert line.startswith("ts=2")
    assert line.endswith(r'Z level=info logger=prepare msg="two\nlines and \"quotes\""')


def test_a_traceback_stays_on_the_line(logfile: Path) -> None:
    try:
        int("password=hunter2")
    except ValueError:
        log.exception("it failed")
    (line,) = logfile.read_text().splitlines()
    assert "level=error" in line
    assert "ValueError: invalid literal for int() with base 10: 'password=***'" in line


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (
            "postgres://sqlrs:hunter2@127.0.0.1:20000/postgres",
            "postgres://sqlrs:***@127.0.0.1:20000/postgres",
        ),
        (
            "from http://a/b,postgres://u:hunter2://x@h to http://h:80/y u@z",
            "from http://a/b,postgres://u:***@h to http://h:80/y u@z",
        ),
        ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
        ("PGPASSWORD=hunter2 psql", "PGPASSWORD=*** psql"),
        ('{"authToken": "hunter2"}', '{"authToken": "***"}'),
        ("ALTER ROLE bob PASSWORD 'hunt''er2' LOGIN", "ALTER ROLE bob PASSWORD *** LOGIN"),
        (r"ALTER ROLE bob PASSWORD E'hunt\'er2' LOGIN", "ALTER ROLE bob PASSWORD *** LOGIN"),
        (
            "CREATE USER b ENCRYPTED password $x$hunter2$x$;",
            "CREATE USER b ENCRYPTED password ***;",
        ),
        ("Authorization: Basic aHVudGVyMjpodW50ZXIy", "Authorization: Basic ***"),
        ("sent Basic aHVudGVyMjpodW50ZXIy", "sent Basic ***"),
        ('"authorization": "Digest username=hunter2, nonce=1"', '"authorization": "Digest ***"'),
        ("GET /x?api_key=hunter2&page=2", "GET /x?api_key=***&page=2"),
        (
            "AWS_SECRET_ACCESS_KEY=hunter2 X-Api-Key: hunter2",
            "AWS_SECRET_ACCESS_KEY=*** X-Api-Key: ***",
        ),
        (r"{\"password\": \"hunter2 and more\"}", r"{\"password\": \"***\"}"),
        ("password='hunter2 and more' user=bob", "password='***' user=bob"),
        ("liquibase --password hunter2 update", "liquibase --password *** update"),
        ("client_secret: hunter2, pwd=hunter2", "client_secret: ***, pwd=***"),
        ("SCRAM-SHA-256$4096:c2FsdA==$aHVudA==:ZXIy", "***"),
        ("password x and token counts are words", "password x and token counts are words"),
        ("basic rules: a key is not in the table", "basic rules: a key is not in the table"),
    ],
)
def test_secrets_are_replaced(text: str, redacted: str) -> None:
    assert logs.redact(text) == redacted


def test_arguments_are_redacted_too(logfile: Path) -> None:
    log.info("connecting to %s", "postgres://sqlrs:hunter2@127.0.0.1/x")
    assert "hunter2" not in logfile.read_text()


def test_the_level_changes_at_once(logfile: Path) -> None:
    logs.set_level(" WARN ")
    log.info("quiet")
    logs.set_level("debug")
    log.debug("loud")
    assert "quiet" not in logfile.read_text()
    assert "loud" in logfile.read_text()


def test_the_file_is_private_even_when_it_was_not(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("before\n")
    path.chmod(0o644)
    with logs.logging_to(path):
        log.warning("after")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().startswith("before\n")


def test_the_log_is_rotated(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_BYTES", 500)
    with logs.logging_to(path):
        for number in range(50):
            log.warning("line %d", number)
    names = sorted(entry.name for entry in path.parent.iterdir())
    assert names == ["engine.log", "engine.log.1", "engine.log.2", "engine.log.3"]
    assert all(entry.stat().st_size <= 500 for entry in path.parent.iterdir())


def test_a_symlink_is_not_followed(path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(OSError, match="symbolic links"), logs.logging_to(path):
        pass


def test_logging_leaves_no_handler_behind(path: Path) -> None:
    before = list(logging.getLogger().handlers)
    with logs.logging_to(path):
        pass
    assert logging.getLogger().handlers == before


def test_a_usual_start_writes_nothing_until_it_is_over(path: Path) -> None:
    with logs.logging_to(path) as held:
        log.info("listening")
        assert path.read_text() == ""
        held.stop_holding()
        log.info("serving")
        lines = path.read_text().splitlines()
    assert [line.rpartition("msg=")[2] for line in lines] == ['"listening"', '"serving"']


def test_a_start_that_warns_writes_at_once_and_in_order(path: Path) -> None:
    with logs.logging_to(path):
        log.info("listening")
        log.warning("not writable")
        lines = path.read_text().splitlines()
    assert [line.rpartition("msg=")[2] for line in lines] == ['"listening"', '"not writable"']


def test_held_back_records_are_written_at_the_end(path: Path) -> None:
    with logs.logging_to(path):
        log.info("listening")
    assert "listening" in path.read_text()


@pytest.mark.parametrize("part", ["a", "key_", "password 'x", "://a:", "token: \\"])
@pytest.mark.timeout(60)
def test_a_line_of_any_length_is_redacted_in_linear_time(part: str) -> None:
    assert logs.redact(f"{part * 20_000} token=hunter2").endswith("***")
