"""A disk without any space: the engine starts on it, serves reads, and can be emptied."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import psycopg
import pytest
from support import fix_mounts
from support.fix_engine import EngineProcess, engines
from support.waiting import eventually

from sqlrs_engine.host.ballast import PIECES

MIB = 1024 * 1024
KINDS = ("ext4", "xfs", "btrfs")

pytestmark = pytest.mark.root


@contextlib.contextmanager
def disk(kind: str, monkeypatch: pytest.MonkeyPatch, size: int = 400 * MIB) -> Iterator[Path]:
    command, _ = fix_mounts.MAKE[kind]
    monkeypatch.setitem(fix_mounts.MAKE, kind, (command, size))
    with fix_mounts.mounted(kind) as root:
        yield root


@pytest.fixture(params=KINDS)
def engine_on_disk(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[EngineProcess]:
    """An engine with everything it has on a small disk of its own."""
    with disk(request.param, monkeypatch) as root, engines() as make:
        state_dir = root / "home"
        state_dir.mkdir(mode=0o755)
        engine = make("--idle-timeout", "0", state_dir=state_dir, seeded=False)
        try:
            engine.start()
            engine.call("PATCH", "/v1/config", json={"path": "pool.enabled", "value": False})
            yield engine
        finally:
            filler(engine).unlink(missing_ok=True)
            engine.close()


def filler(engine: EngineProcess) -> Path:
    return engine.state_dir / "filler"


def fill(engine: EngineProcess) -> None:
    """Write until not a byte more can be written, the last ones to the disk as well."""
    with filler(engine).open("ab", buffering=0) as file:
        for size in (MIB, 64 * 1024, 4096, 512, 512):
            with contextlib.suppress(OSError):
                while file.write(b"x" * size):
                    pass
            with contextlib.suppress(OSError):
                os.fsync(file.fileno())


def ballast(engine: EngineProcess) -> list[Path]:
    return list((engine.store / "ballast").glob("*"))


def emptied(answer: httpx.Response) -> bool:
    assert answer.status_code == 200, answer.text
    return bool(answer.json()["outcome"] == "deleted")


def test_a_full_disk_can_be_emptied(engine_on_disk: EngineProcess) -> None:
    engine = engine_on_disk
    one = engine.prepare("-c", "create table t as select 1 as n")
    two = engine.prepare("-c", "create table t as select 1 as n")
    eventually(lambda: len(ballast(engine)) == PIECES, "the ballast")
    fill(engine)
    assert engine.call("GET", "/v1/health").json()["warnings"] == ["disk_full"]
    assert emptied(engine.call("DELETE", f"/v1/instances/{one['instance_id']}?force=true"))
    fill(engine)
    engine.stop(signal.SIGKILL)
    fill(engine)

    engine.start()
    rows = engine.call("GET", "/v1/instances").json()
    assert [row["instance_id"] for row in rows] == [two["instance_id"]]
    fill(engine)
    assert emptied(engine.call("DELETE", f"/v1/instances/{two['instance_id']}?force=true"))
    fill(engine)
    assert emptied(engine.call("DELETE", f"/v1/states/{two['state_id']}"))
    filler(engine).unlink()
    os.sync()  # btrfs has the space back only then
    assert engine.prepare("-c", "create table t as select 2 as n")["dsn"]
    assert "warnings" not in engine.call("GET", "/v1/health").json()
    eventually(lambda: len(ballast(engine)) == PIECES, "the ballast again")


def configure(engine: EngineProcess, **settings: object) -> None:
    for name, value in settings.items():
        answer = engine.call(
            "PATCH", "/v1/config", json={"path": f"cache.capacity.{name}", "value": value}
        )
        assert answer.status_code == 200, answer.text


def test_an_instance_and_a_snapshot_on_a_full_disk(engine_on_disk: EngineProcess) -> None:
    """States that nobody needs make room, and what cannot be done changes nothing."""
    engine = engine_on_disk
    configure(engine, minStateAge="0s", reserveBytes=0)
    for number in range(2):
        spare = engine.prepare("-c", f"create table spare as select {number} as n")
        assert emptied(engine.call("DELETE", f"/v1/instances/{spare['instance_id']}?force=true"))
    kept = engine.prepare("-c", "create table t as select 1 as n")
    fill(engine)
    body = {"state_id": kept["state_id"]}
    made = engine.call("POST", "/v1/instances", json=body)
    assert made.status_code == 201, made.text
    assert engine.call("GET", "/v1/cache/status").json()["last_eviction"]["evicted_count"]
    fill(engine)
    answer = engine.call("POST", f"/v1/instances/{kept['instance_id']}/snapshot?force=true")
    assert answer.status_code in (201, 507), answer.text

    def answers() -> bool:
        # PostgreSQL restarts itself when it cannot write its log.
        try:
            with psycopg.connect(kept["dsn"]) as connection:
                return connection.execute("select n from t").fetchone() == (1,)
        except psycopg.OperationalError:
            return False

    eventually(answers, "an answer of the instance")


@pytest.mark.parametrize("declares_size", [True, False])
def test_an_upload_of_a_dump_on_a_full_disk(
    engine_on_disk: EngineProcess, declares_size: bool
) -> None:
    """Other dumps make room; an upload without room is refused, and leaves nothing."""
    engine = engine_on_disk

    def upload(size: int) -> httpx.Response:
        pieces = (os.urandom(MIB) for _ in range(size))
        content = b"".join(pieces) if declares_size else pieces
        return engine.call("POST", "/v1/dumps", content=content)

    configure(engine, minStateAge="0s", reserveBytes=0)
    assert upload(48).status_code == 201
    fill(engine)
    made = upload(16)
    assert made.status_code == 201, made.text
    assert engine.call("GET", "/v1/dumps").json() == [made.json()]
    fill(engine)
    refused = upload(64)
    assert refused.status_code == 507, refused.text
    assert "the disk of the state store" in refused.json()["message"]
    eventually(lambda: not list((engine.store / "dumps" / "tmp").iterdir()), "the end of it")
    filler(engine).unlink()
    os.sync()
    assert upload(8).status_code == 201
