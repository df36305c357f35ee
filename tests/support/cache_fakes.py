"""A cache without PostgreSQL: states with sizes and ages, on a disk of any size."""

import math
from pathlib import Path

from sqlrs_engine.cache import Accounts, CacheReport, Disk, Enforcement, Evictor, LastEviction
from sqlrs_engine.clock import shift
from sqlrs_engine.dumps import Dumps
from sqlrs_engine.store import StateFilter
from sqlrs_engine.store.records import State
from support.instance_fakes import IMAGE, FakeFiles, World, state_id

KIB, GIB = 1024, 1024**3
HOUR = 3600


class LazyFiles(FakeFiles):
    """What is discarded takes space until somebody waits for it to be gone."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.sizes: dict[str, int] = {}  # of the states, by id
        self.discarded: list[str] = []
        self.trash: list[str] = []
        self.waits = 0

    def discard(self, path: Path) -> None:
        super().discard(path)
        if path.name in self.sizes:
            self.discarded.append(path.name)
            self.trash.append(path.name)

    def await_space(self, seconds: float) -> bool:
        self.waits += 1
        for name in self.trash:
            self.sizes.pop(name, None)
        self.trash.clear()
        return True


class CacheWorld(World):
    """An engine's states and their cache."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.files = LazyFiles(root / "store")
        self.restart_engine()
        self.total = 1000 * GIB
        self.others = 0  # bytes on the disk that are not the cache's
        self.spare = 0  # bytes of them that can be released
        self.plan = None
        self.configure(reserveBytes=0)
        self.cache = self.new_cache()

    def new_cache(
        self, *, shares_blocks: bool = False, patience_seconds: float = math.inf
    ) -> Enforcement:
        self.dumps = Dumps(
            self.files.root, self.store.jobs.unfinished, lambda: self.cache, clock=self.clock
        )
        accounts = Accounts(
            self.store.states,
            self.dumps,
            self.leases,
            self.config,
            disk=lambda: self.disk(),
            shares_blocks=shares_blocks,
            clock=self.clock,
        )
        last_eviction = LastEviction(self.store.meta)
        self.report = CacheReport(
            accounts,
            last_eviction,
            self.store.states,
            self.config,
            plan=lambda request: self.plan(request),
            exists=self.exists,
        )
        return Enforcement(
            accounts,
            Evictor(self.store.states, self.dumps, self.files, self.leases, accounts, self.metrics),
            last_eviction,
            release_spare=lambda: self.release_spare(),
            patience_seconds=patience_seconds,
        )

    def release_spare(self) -> bool:
        spare, self.spare = self.spare, 0
        self.others -= spare
        return spare > 0

    def exists(self, state_id: str) -> bool:
        row = self.store.states.get(state_id)
        return row is not None and self.files.state_dir(row.image_id, state_id).is_dir()

    def configure(self, **capacity: object) -> None:
        for name, value in capacity.items():
            self.config.set(f"cache.capacity.{name}", value)

    def disk(self) -> Disk:
        used = sum(self.files.sizes.values()) + self.dumps.totals().size_bytes
        return Disk(self.total, self.total - self.others - used)

    def add(
        self,
        number: int,
        *,
        parent: int | None = None,
        size: int | None = 100,
        age: float = HOUR,
        used: float | None = None,
        image: str = IMAGE,
        recipe: dict | None = None,
        **fields: object,
    ) -> str:
        """Add a state that was made ``age`` and used ``used`` seconds ago."""
        state = State(
            state_id=state_id(number),
            parent_state_id=None if parent is None else state_id(parent),
            image_id=image,
            prepare_kind="psql",
            prepare_args_normalized="",
            created_at=shift(self.clock.now, -age),
            last_used_at=None if used is None else shift(self.clock.now, -used),
            size_bytes=size,
            **fields,
        )
        self.store.states.add(state, recipe)
        container = self.files.state_dir(image, state.state_id)
        container.mkdir(parents=True, exist_ok=True)
        (container / "content").write_text(f"state {number}")
        self.files.sizes[state.state_id] = size or 0
        return state.state_id

    def left(self) -> list[int]:
        """Return the numbers of the states that are there, in order."""
        return sorted(int(state.state_id, 16) for state in self.store.states.find(StateFilter()))
