"""Instances without PostgreSQL: servers in memory, files in a directory, a set clock."""

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlrs_engine import clock, ids
from sqlrs_engine.config import Config
from sqlrs_engine.conntrack import Reading
from sqlrs_engine.deletion import Deletion
from sqlrs_engine.errors import ClusterFailed, ImageUnavailable, StorageFull
from sqlrs_engine.host.memory import Machine
from sqlrs_engine.instances import Expiry, Instances, Services
from sqlrs_engine.instances.disk_budget import Unlimited
from sqlrs_engine.instances.pool.pool import in_thread
from sqlrs_engine.instances.ports import Ports
from sqlrs_engine.postgres.errors import PortTaken, ServerUnusable
from sqlrs_engine.postgres.postmaster import Postmaster
from sqlrs_engine.registry import Registry
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.states import States
from sqlrs_engine.store import InstanceFilter
from sqlrs_engine.store.records import Instance, State
from sqlrs_engine.store.sqlite import SqliteStore

IMAGE = "postgres@sha256:" + "ab" * 32


def state_id(number: int) -> str:
    return f"{number:064x}"


class SetClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = clock.utc_now()

    def __call__(self) -> clock.Timestamp:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now = clock.shift(self.now, seconds)


class FakeFiles:
    """Containers as directories with one file; no background work."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fail_clone = False
        self.fail_exchange = False
        self.on_exchange: Callable[[Path, Path], None] = lambda container, workspace: None
        self.synced = 0
        self._numbers = itertools.count()

    def state_dir(self, image_id: str, state_id: str) -> Path:
        return self.root / "engines" / "postgres" / "states" / state_id

    def instance_dir(self, instance_id: str) -> Path:
        return self.root / "instances" / instance_id

    def instance_dirs(self) -> Iterator[Path]:
        root = self.root / "instances"
        entries = root.iterdir() if root.exists() else ()
        return (path for path in entries if ids.is_instance_id(path.name))

    def set_aside(self, container: Path) -> Path:
        place = self.root / "set-aside" / container.name
        place.parent.mkdir(exist_ok=True)
        return container.rename(place)

    def clone(self, source: Path, target: Path) -> None:
        if self.fail_clone:
            raise OSError("no space left on device")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target)

    def clone_to_workspace(self, source: Path) -> Path:
        workspace = self.root / "work" / str(next(self._numbers))
        self.clone(source, workspace)
        return workspace

    def publish(self, workspace: Path, target: Path) -> bool:
        target.parent.mkdir(parents=True, exist_ok=True)
        workspace.rename(target)
        return True

    def discard(self, path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)

    def wait_idle(self, seconds: float) -> bool:
        return True

    def exchange(self, container: Path, workspace: Path) -> None:
        if self.fail_exchange:
            raise StorageFull("the disk is full")
        aside = workspace.with_name("aside")
        container.rename(aside)
        workspace.rename(container)
        aside.rename(workspace)
        self.on_exchange(container, workspace)

    def is_whole(self, container: Path) -> bool:
        return (container / "content").exists()

    def usage(self, path: Path) -> int:
        return sum(file.stat().st_size for file in path.rglob("*"))

    def sync(self) -> None:
        self.synced += 1


@dataclass
class FakeServer:
    """The server of one container; ``password`` stands for what its cluster stores."""

    world: "World"
    container: Path
    running: Postmaster | None = None
    connections: int = 0
    sessions: int = 0
    starts: int = 0
    logins: int = 0
    log: list[str] = field(default_factory=list)
    passwords: list[tuple[int, str | None]] = field(default_factory=list)

    @property
    def content(self) -> str:
        return (self.container / "content").read_text()

    @content.setter
    def content(self, text: str) -> None:
        (self.container / "content").write_text(text)

    @property
    def password(self) -> str | None:
        file = self.container / "password"
        return file.read_text() if file.exists() else None

    def use(self) -> None:
        """A client comes and goes."""
        self.sessions += 1

    def start(self, *, port, settings) -> Postmaster:
        if self.world.fail_start:
            raise ServerUnusable("PostgreSQL did not start: its log has the cause", "out of memory")
        if port in self.world.foreign_ports:
            raise PortTaken("the port is taken")
        if self.running and not self.running.stopping:
            return self.running
        pid = next(self.world.pids)
        self.running = Postmaster(pid, 1, port or 5432)
        self.starts += 1
        self.log.append("start")
        return self.running

    def postmaster(self) -> Postmaster | None:
        return self.running

    def stop(self, mode) -> None:
        if self.running:
            self.log.append(mode)
        self.running = None
        self.connections = 0

    def crash(self) -> None:
        self.running = None
        self.connections = 0

    def log_in(self, port, password) -> int:
        if self.world.fail_login:
            raise ServerUnusable("cannot log in to PostgreSQL", "no")
        assert password == self.password
        self.logins += 1
        self.sessions += 1
        return self.sessions

    def set_password(self, port, password) -> int:
        if self.world.fail_password:
            raise ClusterFailed("cannot connect to PostgreSQL")
        self.sessions += 1
        self.passwords.append((self.running.port if self.running else port, password))
        file = self.container / "password"
        if password is None:
            file.unlink(missing_ok=True)
        else:
            file.write_text(password)
        return self.sessions


class FakePortPlaceholders:
    """Holds ports in memory; what listens has its port."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.held: set[int] = set()

    def hold(self, port: int) -> bool:
        if port not in self.held and port in self.world.listening:
            return False
        self.held.add(port)
        return True

    @contextmanager
    def admitting(self, port: int) -> Iterator[None]:
        yield

    def release(self, port: int) -> None:
        self.held.discard(port)

    def close(self) -> None:
        self.held.clear()


class FakeDiskBudget(Unlimited):
    """A disk as full as it is said to be; ``relief`` says what is given back."""

    def __init__(self) -> None:
        self.enough = True
        self.full = False
        self.relief: Callable[[int], bool] = lambda size: False

    def has_room(self, size: int) -> bool:
        return self.enough

    def relieve(self, phase, failure, protect=(), growth=0) -> bool:
        return self.relief(growth)

    def exhausted(self) -> bool:
        return self.full


class FakeMemory:
    """A machine with as much memory as it is given."""

    def __init__(self) -> None:
        self.total = self.available = 1000
        self.server_size = 10

    def machine(self) -> Machine:
        return Machine(self.total, self.available)

    def server(self, pid: int) -> int:
        return self.server_size


class World:
    """One engine's instances and everything around them."""

    def __init__(self, root: Path) -> None:
        self.clock = SetClock()
        self.pids = itertools.count(1000)
        self.foreign_ports: set[int] = set()
        self.listening: set[int] = set()
        self.fail_start = self.fail_password = self.fail_login = False
        self.disk_budget = FakeDiskBudget()
        self.precious: set[str] = set()
        self.memory = FakeMemory()
        self.unreachable_images: set[str] = set()
        self.port_range = (20000, 20999)
        self.monotonic: Callable[[], float] = time.monotonic
        self.spawn_in: Callable[[Callable[[], None]], None] = in_thread
        self._servers: dict[Path, FakeServer] = {}
        self.files = FakeFiles(root / "store")
        self.files.on_exchange = self._exchange_servers
        self.config = Config(root / "config.json")
        self.store = SqliteStore(root / "state.db", clock=self.clock)
        self.restart_engine()

    def restart_engine(self) -> None:
        """Forget what an engine has in memory; servers, files and rows stay."""
        self.leases = Leases()
        self.port_placeholders = FakePortPlaceholders(self)
        expiry = Expiry(self.store, self.config, self.clock)
        self.registry = Registry(self.store, clock=self.clock, on_names_changed=expiry.renew)
        self.ports = Ports(
            lambda: self.port_range,
            self.store.instances.ports,
            placeholders=self.port_placeholders,
            choose=lambda count: 0,
        )
        services = Services(
            store=self.store,
            files=self.files,
            servers=self,
            config=self.config,
            registry=self.registry,
            leases=self.leases,
            states=States(self.store.states, self.files, self.clock),
            expiry=expiry,
            ports=self.ports,
            conntrack=self,
            disk_budget=self.disk_budget,
            clock=self.clock,
            keeps=lambda instance_id: instance_id in self.precious,
        )
        self.metrics = services.metrics
        self.instances = Instances(
            services, memory=self.memory, monotonic=self.monotonic, spawn=self.spawn
        )
        self.deletion = Deletion(self.store, self.instances, self.leases, self.files)

    def create(self, state_id: str, **options: Any) -> Instance:
        return self.instances.creation.create(state_id, **options)

    def spawn(self, work: Callable[[], None]) -> None:
        """Make a standby in the caller's thread, or as ``spawn_in`` does."""
        self.spawn_in(work)

    def close(self) -> None:
        self.instances.pool.stop()
        self.instances.stop()
        self.store.close()

    def server(self, image_id: str, container: Path) -> FakeServer:
        if image_id in self.unreachable_images:
            raise ImageUnavailable("no PostgreSQL for the image", image_id)
        return self._servers.setdefault(container, FakeServer(self, container))

    def kill(self, container: Path) -> None:
        if container in self._servers:
            self._servers[container].stop("immediate")

    def _exchange_servers(self, container: Path, workspace: Path) -> None:
        """Let what runs go with its files."""
        one, other = (self.server(IMAGE, path) for path in (container, workspace))
        one.running, other.running = other.running, one.running
        one.connections, other.connections = other.connections, one.connections

    def read(self, cluster: FakeServer, port: int) -> Reading:
        cluster.sessions += 1
        return Reading(connections=cluster.connections, sessions=cluster.sessions)

    def server_of(self, instance: Instance | str) -> FakeServer:
        instance_id = instance if isinstance(instance, str) else instance.instance_id
        return self.server(IMAGE, self.files.instance_dir(instance_id))

    def is_empty(self) -> bool:
        """Return whether there is no instance, neither server nor row nor files."""
        directory = self.files.root / "instances"
        rows = self.store.instances.find(InstanceFilter())
        return not (rows or self.running() or (directory.exists() and [*directory.iterdir()]))

    def has_no_workspace(self) -> bool:
        work = self.files.root / "work"
        return not work.exists() or not [*work.iterdir()]

    def running(self) -> list[FakeServer]:
        return [server for server in self._servers.values() if server.running]

    def add_state(self, number: int = 1, parent: int | None = None) -> str:
        """Add a state whose content is its number."""
        state = State(
            state_id=state_id(number),
            parent_state_id=None if parent is None else state_id(parent),
            image_id=IMAGE,
            prepare_kind="psql",
            prepare_args_normalized="",
            created_at=self.clock(),
        )
        self.store.states.add(state)
        container = self.files.state_dir(IMAGE, state.state_id)
        container.mkdir(parents=True)
        (container / "content").write_text(f"state {number}")
        return state.state_id

    def add_instance_row(self, of: str, port: int = 20000, **fields) -> Instance:
        """Add an instance that has neither files nor a server."""
        instance = Instance(
            instance_id=ids.new_id(),
            image_id=IMAGE,
            state_id=of,
            created_at=self.clock(),
            port=port,
            password="x",
            **fields,
        )
        self.store.instances.add(instance)
        return instance


def disk_full(*_: Any, **__: Any) -> Any:
    """Fail as a store on a full disk does."""
    raise StorageFull("the disk is full")
