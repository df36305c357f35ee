"""``python -m benchmarks``: measure everything once and print the table.

Everything is measured in one go because only ratios of figures from the same
minutes on the same machine mean something.
"""

import argparse
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from sqlrs_engine.postgres.distributions.catalog import Distributions

from . import (
    burst,
    changelogs,
    images,
    long_chains,
    observation,
    output,
    plot,
    prepares,
    rates,
    report,
    restores,
    rivals,
    startup,
)
from .daemon import Engine
from .inputs import chinook_file, inputs
from .measure import Timing
from .mounts import mount_all
from .session import Session

SIZES = ("empty", "chinook", "pgbench")
WORKLOADS: dict[str, Callable[[Session], Iterator[Timing]]] = {
    "rivals": rivals.measure,
    "prepares": prepares.measure,
    "burst": burst.measure,
    "changelogs": changelogs.measure,
    "chains": long_chains.measure,
    "restores": restores.measure,
    "startup": startup.measure,
    "images": images.measure,
    "observation": observation.measure,
    "rates": rates.measure,
    "output": output.measure,
}


def _words(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        words = text.split(",")
        unknown = [word for word in words if word not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown[0]}: choose from {', '.join(known)}")
        return words

    return parse


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add(
        "--store-dir",
        action="append",
        type=Path,
        default=[],
        metavar="DIR",
        help="measure with the store below DIR; repeat it for more filesystems"
        " (default: the temporary directory)",
    )
    add("--mounts", action="store_true", help="as root: also on loop-mounted ext4, XFS, btrfs")
    add(
        "--sizes",
        type=_words(SIZES),
        default=["empty", "chinook"],
        metavar="LIST",
        help="databases to prepare: empty, chinook, pgbench (1 GB); default: empty,chinook",
    )
    add(
        "--only",
        type=_words([*WORKLOADS]),
        default=[*WORKLOADS],
        metavar="LIST",
        help=f"some of the workloads: {', '.join(WORKLOADS)}",
    )
    add("--rival-endpoint", metavar="URL", help="an engine with the same API to measure beside")
    add("--rival-token", default="", metavar="TOKEN", help="its bearer token")
    add("--runs", type=int, default=30, metavar="N", help="samples of cached work")
    add("--cold-runs", type=int, default=5, metavar="N", help="samples of slow work")
    add("--image", default="postgres", help="what to run (default: %(default)s)")
    add("--chinook", type=Path, metavar="FILE", help="Chinook_PostgreSql.sql")
    add("--json", type=Path, metavar="FILE", help="also write every sample here")
    add("--plot", type=Path, metavar="FILE", help="also draw the medians (.svg or .png)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark; the exit code is 1 when a target was missed."""
    options = _arguments(argv)
    if options.plot:
        plot.check()
    about = report.machine()
    timings: list[Timing] = []
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scratch.chmod(0o755)
        distribution = Distributions(scratch).resolve(options.image)
        about["postgresql"] = distribution.version
        places = options.store_dir or [Path(tempfile.gettempdir())]
        stores = {f"{report.filesystem(place)}, {place}": place for place in places}
        if options.mounts:
            stores |= mount_all(stack)
        chinook = chinook_file(options.chinook)
        if chinook is None and "chinook" in options.sizes:
            print("note: Chinook is not here (--chinook FILE), so it is not measured")
        rival = options.rival_endpoint
        session = Session(
            image=options.image,
            distribution=distribution,
            inputs=inputs(options.sizes, chinook, scratch),
            stores=stores,
            chinook=chinook,
            runs=options.runs,
            cold_runs=options.cold_runs,
            rival=Engine.at(rival, options.rival_token) if rival else None,
        )
        for name in options.only:
            for timing in WORKLOADS[name](session):
                said = f"{timing.where}: {timing.work} {timing.database}".rstrip()
                print(f"{said}: p50 {report.figure(timing.p50)} {timing.unit}", flush=True)
                timings.append(timing)
    report.show(timings, about)
    if options.json:
        report.write(options.json, timings, about)
    if options.plot:
        plot.write(options.plot, timings)
    return int(any(timing.met is False for timing in timings))


if __name__ == "__main__":
    raise SystemExit(main())
