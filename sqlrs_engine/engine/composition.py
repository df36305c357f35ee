"""An engine: all the parts, wired together on its own state store."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

from sqlrs_engine import instances
from sqlrs_engine.cache import Accounts, CacheReport, Disk, Enforcement, Evictor, LastEviction
from sqlrs_engine.clock import utc_now
from sqlrs_engine.deletion import Deletion
from sqlrs_engine.dumps import Dumps
from sqlrs_engine.host.disk_space import exhausted
from sqlrs_engine.httpapi.services import Services
from sqlrs_engine.instances import Expiry, Instances, Servers, configured_ports
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.listing import ImageList
from sqlrs_engine.prepare.build.build_locks import BuildLocks
from sqlrs_engine.prepare.build.builder import Builder
from sqlrs_engine.prepare.dump import DumpPlanner, Memory
from sqlrs_engine.prepare.jobs.events import EventLog
from sqlrs_engine.prepare.jobs.origins import Origins
from sqlrs_engine.prepare.jobs.service import PrepareService
from sqlrs_engine.prepare.jobs.services import Services as JobServices
from sqlrs_engine.prepare.observation.observer import Observation
from sqlrs_engine.prepare.observation.values import InputValues
from sqlrs_engine.prepare.planner import Planner
from sqlrs_engine.registry import Registry
from sqlrs_engine.runs import Runs
from sqlrs_engine.salvage import Salvage
from sqlrs_engine.sources import Sources
from sqlrs_engine.statefs.scratch import Scratch
from sqlrs_engine.states.durability import Durability
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.observed_inputs import ObservedInputs
from sqlrs_engine.states.states import States
from sqlrs_engine.store.records import Instance, State

from .gauges import add_gauges
from .images import distributions, stored_images
from .recovery import Leftovers, Recovery, Step
from .storage import open_storage

RUNS_GRACE_SECONDS = 2.0
JOBS_GRACE_SECONDS = 3.0
RECOVERY_GRACE_SECONDS = 5.0
TRASH_GRACE_SECONDS = 2.0

_log = logging.getLogger(__name__)


class Engine:
    """All the parts of an engine, wired to each other; no other engine may use its store."""

    def __init__(
        self,
        store_root: Path,
        *,
        search_path: str = "",
        builds: Path | None = None,
        images: Path | None = None,
    ) -> None:
        """Build the parts; ``start`` starts them.

        ``search_path``, ``builds`` and ``images`` are those of ``EngineOptions``.

        Raises:
            EngineError: The configuration, the database or the store's filesystem cannot be used.
        """
        storage = open_storage(store_root)
        self.config = config = storage.config
        self.store = store = storage.database
        self.files = files = storage.files
        self.ballast = storage.ballast
        self._retries = retries = storage.retries
        pulled = None
        if images is not None:
            pulled = stored_images(images, store_root, config, storage.os_user, os.environ)
        found = distributions(store_root, search_path, builds, pulled, config)
        self.servers = servers = Servers(found, storage.os_user)
        self.metrics = metrics = Metrics()
        leases = Leases()
        expiry = Expiry(store, config, utc_now)
        self._salvage = salvage = Salvage(store, storage.labels, files, expiry.deadline, utc_now)
        salvage.restore()
        registry = Registry(store, on_names_changed=expiry.renew)
        self.states = states = States(
            store.states, files, utc_now, keeps=lambda key: salvage.keeps(State, key)
        )
        self.dumps = dumps = Dumps(store_root, store.jobs.unfinished, lambda: self.disk_budget)
        accounts = Accounts(
            store.states,
            dumps,
            leases,
            config,
            disk=lambda: Disk.of(store_root),
            shares_blocks=files.backend.copy_on_write,
        )
        last_eviction = LastEviction(store.meta)
        self.disk_budget = Enforcement(
            accounts,
            Evictor(store.states, dumps, files, leases, accounts, metrics),
            last_eviction,
            release_spare=lambda: self.instances.pool.release_all(),
        )
        report = CacheReport(
            accounts,
            last_eviction,
            store.states,
            config,
            plan=lambda request: self.prepare.plan(request),
            exists=states.exists,
        )
        self.instances = Instances(
            instances.Services(
                store=store,
                files=files,
                servers=servers,
                config=config,
                registry=registry,
                leases=leases,
                states=states,
                expiry=expiry,
                ports=configured_ports(config, store.instances),
                disk_budget=self.disk_budget,
                retries=retries,
                metrics=metrics,
                keeps=lambda key: salvage.keeps(Instance, key),
            )
        )
        self.sources = sources = Sources(store_root, config, store.jobs.unfinished)
        self._durability = durability = Durability(states)
        values = InputValues()
        observation = Observation(ObservedInputs(store.states, values.value), values, store_root)
        locks = BuildLocks(config.value("orchestrator.jobs.workers"))
        self.prepare = PrepareService(
            JobServices(
                jobs=store.jobs,
                events=EventLog(store.jobs, utc_now),
                images=found,
                origins=Origins(states, registry),
                planner=Planner(
                    sources.blobs,
                    trees=sources.trees,
                    changelogs=store_root / "changelogs",
                    config=config,
                    home=os.environ.get("HOME"),
                    dumps=DumpPlanner(
                        Memory(store_root / "dumps.json"), found.installed, kept=dumps
                    ),
                ),
                builder=Builder(files, states, servers, locks, metrics, self.disk_budget, retries),
                observation=observation,
                states=states,
                durability=durability,
                leases=leases,
                creation=self.instances.creation,
                config=config,
                clock=utc_now,
                metrics=metrics,
                disk_budget=self.disk_budget,
                retries=retries,
            )
        )

        def cluster(instance: Instance) -> Cluster:
            return servers.server(instance.image_id, files.instance_dir(instance.instance_id))

        self._scratch = Scratch(store_root)
        self.runs = Runs(
            registry,
            self.instances.restart,
            cluster,
            renew=expiry.renew,
            scratch=self._scratch.directory,
        )
        self.services = Services(
            store=store,
            registry=registry,
            instances=self.instances,
            deletion=Deletion(store, self.instances, leases, files),
            prepare=self.prepare,
            config=config,
            metrics=metrics,
            runs=self.runs,
            images=ImageList(found),
            cache=report,
            sources=sources,
            dumps=dumps,
            warnings=lambda: ["disk_full"] if exhausted(store_root) else [],
        )
        add_gauges(
            metrics,
            store=store,
            files=files,
            dumps=dumps,
            instances=self.instances,
            prepare=self.prepare,
            runs=self.runs,
        )
        self.recovery = Recovery(self._recovery_steps())

    def _recovery_steps(self) -> list[Step]:
        """Return the steps of recovery in their order.

        Doubtful states are dropped before instances are revived from them, servers of half-made
        clusters end before instances need their ports, and jobs resume when the cache has space for
        them.
        """
        leftovers = Leftovers(self.files, self.servers, self.states)
        retries = self._retries
        return [
            ("states", self.states.drop_doubtful),
            ("servers", leftovers.end_servers),
            ("instances", self.instances.recovery.run),
            ("supervisor", self.instances.supervisor.start),
            ("files", leftovers.remove_files),
            ("labels", self._salvage.settle),
            ("temporary files", leftovers.remove_temporary_files),
            ("dumps", self.dumps.sweep),
            ("cache", lambda: self.disk_budget.make_room("startup_recovery")),
            ("scratch directories", self._scratch.sweep),
            ("sources", self.sources.start),
            ("jobs", lambda: retries.do("resume the jobs", self.prepare.recover)),
            ("reaper", self.instances.reaper.start),
            ("pool", self.instances.pool.start),
            ("ballast", lambda: retries.do("make the ballast", self.ballast.restore)),
        ]

    def start(self) -> None:
        """Start recovery and the reaper in the background."""
        self.recovery.start()

    def busy(self) -> bool:
        """Return whether work is under way that no request waits for."""
        return self.prepare.active() + self.runs.active() > 0 or self.recovery.running()

    def stuck(self) -> bool:
        """Return whether jobs or runs are still at work after ``stop``."""
        return self.prepare.active() + self.runs.active() > 0

    def stop(self) -> None:
        """End the runs; interrupt the jobs so that they resume at the next start.

        Instances keep running. A part that fails to stop is logged, and the others stop.
        """
        self.recovery.stop()
        steps: tuple[Callable[[], object], ...] = (
            self._retries.stop,
            self.disk_budget.stop,
            lambda: self.runs.shutdown(RUNS_GRACE_SECONDS),
            lambda: self.prepare.shutdown(JOBS_GRACE_SECONDS),
            self._durability.stop,
            self.instances.pool.stop,
            self.instances.stop,
            self.sources.stop,
            self.dumps.stop,
        )
        for step in steps:
            try:
                step()
            except Exception:
                # Whatever is wrong with one part, the others are stopped.
                _log.exception("a part of the engine did not stop as it should")

    def close(self) -> None:
        """Release the store."""
        self.recovery.join(RECOVERY_GRACE_SECONDS)
        self.files.wait_idle(TRASH_GRACE_SECONDS)
        self.store.close()
