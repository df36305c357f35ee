"""``python -m benchmarks``: measure everything once and print the table.

Everything is measured in one go because only ratios of figures from the same
minutes on the same machine mean something.
"""

import argparse
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlrs_engine.postgres.distributions import Distributions

from . import rivals, workloads
from .inputs import bikeshare, chinook
from .measure import Timing
from .mounts import mount_all
from .report import filesystem, machine, show, write


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--store-dir",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="measure with the store below DIR; repeat it for more filesystems"
        " (default: the temporary directory)",
    )
    parser.add_argument(
        "--mounts",
        action="store_true",
        help="as root: also measure on loop-mounted ext4, XFS, btrfs",
    )
    parser.add_argument("--runs", type=int, default=30, metavar="N", help="samples of cached work")
    parser.add_argument(
        "--cold-runs", type=int, default=5, metavar="N", help="samples of slow work"
    )
    parser.add_argument("--image", default="postgres", help="what to run (default: %(default)s)")
    parser.add_argument("--chinook", type=Path, metavar="FILE", help="Chinook_PostgreSql.sql")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write every sample here")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code is 1 when a target was missed."""
    options = _arguments(argv)
    about = machine()
    timings: list[Timing] = []

    def keep(timing: Timing) -> None:
        print(f"{timing.where}: {timing.work}: p50 {timing.p50:.1f} {timing.unit}", flush=True)
        timings.append(timing)

    with ExitStack() as stack:
        distribution = Distributions(
            Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ).resolve(options.image)
        about["postgresql"] = distribution.version
        stores = options.store_dir or [Path(tempfile.gettempdir())]
        if options.mounts:
            stores = [*stores, *mount_all(stack)]
        scripts = bikeshare()
        keep(rivals.create_template(distribution, scripts, options.runs))
        keep(rivals.from_scratch(distribution, scripts, options.cold_runs))
        keep(workloads.start(options.cold_runs))
        for timing in workloads.requests(options.image, 10 * options.runs):
            keep(timing)
        for timing in workloads.runs_of_programs(options.image, options.runs):
            keep(timing)
        for timing in workloads.cache_status(distribution.image_id, 10 * options.runs):
            keep(timing)
        sample_database = chinook(options.chinook)
        for store in stores:
            where = filesystem(store)
            for timing in workloads.on_store(
                store, where, scripts=scripts, image=options.image, runs=options.runs
            ):
                keep(timing)
            if sample_database is None:
                print("note: Chinook is not here (--chinook FILE), so it is not measured")
                continue
            keep(
                workloads.first_on_empty_store(
                    store,
                    where,
                    scripts=sample_database,
                    image=options.image,
                    runs=options.cold_runs,
                    target=2500.0,
                )
            )

    show(timings, about)
    if options.json:
        write(options.json, timings, about)
    return int(any(timing.met is False for timing in timings))


if __name__ == "__main__":
    raise SystemExit(main())
