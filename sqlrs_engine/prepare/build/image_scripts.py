"""The scripts that an image runs in a new cluster, and those of them that failed.

A failure is kept in the base state, so that every job learns of it that begins there.
"""

from pathlib import Path

from sqlrs_engine.errors import DISK_FULL, StorageFull
from sqlrs_engine.instances.disk_budget import DiskBudget
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.entry_point import run_scripts
from sqlrs_engine.prepare.job_context import JobContext

from .workspaces import Workspaces

_FAILURES = "image-scripts-failed.txt"


def run_image_scripts(
    cluster: Cluster,
    workspace: Path,
    workspaces: Workspaces,
    disk_budget: DiskBudget,
    context: JobContext,
) -> None:
    """Run the scripts of the image in a base state that is being made.

    Raises ClusterFailed when the server does not start or stop, StorageFull, and what
    ``context.cancellation.check`` does.
    """
    workspaces.start(cluster, {}, tcp=False)
    failures = run_scripts(cluster, context.cancellation, context.log)
    if failures and disk_budget.exhausted():
        raise StorageFull(DISK_FULL, "\n".join(failures))
    # A script may have stopped it or, by starting it again, tied it to its own end.
    workspaces.start(cluster, {}, tcp=False)
    cluster.stop("fast")
    if failures:
        text = "".join(f"{line}\n" for line in failures)
        (workspace / _FAILURES).write_text(text, encoding="utf-8")


def failed_scripts(base: Path) -> list[str]:
    """Return a line for each script of the image that failed when a base state was made."""
    try:
        return (base / _FAILURES).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
