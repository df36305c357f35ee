"""The metrics that are read from the engine's parts when a client asks for them."""

import shutil
from collections import Counter

from sqlrs_engine.dumps import Dumps
from sqlrs_engine.instances import Instances
from sqlrs_engine.metrics import Gauge, Metrics
from sqlrs_engine.prepare.jobs.service import PrepareService
from sqlrs_engine.runs import Runs
from sqlrs_engine.statefs import StateFs
from sqlrs_engine.store import InstanceFilter, Store


def add_gauges(
    metrics: Metrics,
    *,
    store: Store,
    files: StateFs,
    dumps: Dumps,
    instances: Instances,
    prepare: PrepareService,
    runs: Runs,
) -> None:
    """Add the gauges of jobs, runs, instances, the warm pool, states, dumps and disk space."""

    def instances_by_status() -> dict[str, float]:
        rows = store.instances.find(InstanceFilter())
        return {status: float(n) for status, n in Counter(row.status for row in rows).items()}

    def pool_bytes() -> float:
        return sum(each.memory_bytes for each in instances.pool.standbys())

    for gauge in (
        Gauge("sqlrs_jobs_active", "Queued and running jobs.", lambda: {"": prepare.active()}),
        Gauge("sqlrs_runs_active", "Runs in progress.", lambda: {"": runs.active()}),
        Gauge("sqlrs_instances", "Instances by status.", instances_by_status, "status"),
        Gauge(
            "sqlrs_pool_standbys",
            "Standbys of the warm pool.",
            lambda: {"": len(instances.pool.standbys())},
        ),
        Gauge(
            "sqlrs_pool_bytes",
            "Memory of the standbys, as measured at their start.",
            lambda: {"": pool_bytes()},
        ),
        Gauge("sqlrs_states", "Cached states.", lambda: {"": store.states.totals().count}),
        Gauge(
            "sqlrs_state_bytes",
            "Apparent size of the cached states.",
            lambda: {"": store.states.totals().size_bytes},
        ),
        Gauge("sqlrs_dumps", "Kept dumps.", lambda: {"": dumps.totals().count}),
        Gauge(
            "sqlrs_dump_bytes",
            "Size of the kept dumps and of uploads in progress.",
            lambda: {"": dumps.totals().size_bytes},
        ),
        Gauge(
            "sqlrs_store_free_bytes",
            "Free space of the store's filesystem.",
            lambda: {"": shutil.disk_usage(files.root).free},
        ),
    ):
        metrics.add_gauge(gauge)
