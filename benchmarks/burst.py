"""Many instances at once: a burst of requests, and how many can be alive together."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from .daemon import Daemon, EngineFailedError, scratch
from .inputs import Input
from .measure import Timing
from .prepares import select_one
from .session import Session

BURST, ALIVE = 100, 300


def measure(session: Session) -> Iterator[Timing]:
    """Measure both on every store."""
    request = Input("", ("-c", "CREATE TABLE t AS SELECT 1 AS n")).request(session.image)
    for where, parent in session.stores.items():
        with scratch(parent) as directory, Daemon(directory, directory / "store") as engine:
            result = engine.prepare(request)["result"]
            engine.delete(f"/v1/instances/{result['instance_id']}")
            yield from burst(engine, result["state_id"], where, BURST)
            yield from alive(engine, result["state_id"], where, ALIVE)


def burst(engine: Daemon, state_id: str, where: str, count: int) -> Iterator[Timing]:
    """Request ``count`` instances of a cached state at once, query each, delete them all.

    Raises EngineFailedError when a request fails or an instance is left.
    """
    memory = engine.memory_mib()
    checkout = Timing(f"burst of {count}, POST to SELECT 1", where)
    rate = Timing(f"burst of {count}, instances a second", where, unit="/s", is_rate=True)
    deleted = Timing(f"burst of {count}, DELETE", where)
    with ThreadPoolExecutor(count) as clients:
        begun = time.perf_counter()
        made = list(clients.map(lambda _: _checkout(engine, state_id, checkout), range(count)))
        rate.samples.append(count / (time.perf_counter() - begun))
        list(clients.map(lambda instance_id: _delete(engine, instance_id, deleted), made))
    grown = Timing(f"engine memory grown by a burst of {count}", where, unit="MiB")
    grown.samples.append(max(0.0, engine.memory_mib() - memory))
    _expect_instances(engine, 0)
    yield from (checkout, rate, deleted, grown)


def alive(engine: Daemon, state_id: str, where: str, count: int) -> Iterator[Timing]:
    """Keep ``count`` instances of a cached state alive together, then query each and delete all.

    Raises EngineFailedError as ``burst`` does.
    """
    made = Timing(f"one of {count} alive, POST to SELECT 1", where)
    queried = Timing(f"{count} alive, SELECT 1", where)
    deleted = Timing(f"{count} alive, DELETE", where)
    with ThreadPoolExecutor(8) as clients:
        ids = list(clients.map(lambda _: _checkout(engine, state_id, made), range(count)))
    _expect_instances(engine, count)
    for instance_id in ids:
        dsn = engine.http.get(f"/v1/instances/{instance_id}").json()["dsn"]
        with queried.sample():
            select_one(dsn)
    for instance_id in ids:
        _delete(engine, instance_id, deleted)
    _expect_instances(engine, 0)
    yield from (made, queried, deleted)


def _checkout(engine: Daemon, state_id: str, timing: Timing) -> str:
    with timing.sample():
        answer = engine.http.post("/v1/instances", json={"state_id": state_id})
        if answer.is_error:
            raise EngineFailedError(answer.text)
        instance = answer.json()
        select_one(instance["dsn"])
    instance_id: str = instance["instance_id"]
    return instance_id


def _delete(engine: Daemon, instance_id: str, timing: Timing) -> None:
    with timing.sample():
        engine.delete(f"/v1/instances/{instance_id}")


def _expect_instances(engine: Daemon, count: int) -> None:
    found = len(engine.http.get("/v1/instances").json())
    if found != count:
        raise EngineFailedError(f"there are {found} instances, not {count}")
