"""Images of registries: the pull itself, and a pulled image against the bundled build.

The images are those of the tests: one has the very programs that come with the engine, so that
the difference is what running them from an image costs; the other is the one with PostGIS.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from .daemon import Daemon, scratch
from .inputs import ROOT, Input
from .measure import Timing
from .prepares import select_one
from .session import Session

PULLED_TO_BUNDLED = 1.1
PULL_TO_COPY = 1.5
CACHED = "cached prepare → SELECT 1, in a row"


def measure(session: Session) -> Iterator[Timing]:
    """Measure both, with a registry of our own; say so where there is none."""
    import pytest

    try:
        yield from _measure(session)
    except pytest.skip.Exception as reason:
        print(f"note: images are not measured: {reason}")


def _measure(session: Session) -> Iterator[Timing]:
    sys.path.append(str(ROOT / "tests"))  # the registry and the images are the tests'
    from support.images import push
    from support.postgres_images import postgis_image, small_image, small_layers
    from support.registry import registries

    with tempfile.TemporaryDirectory(prefix="sqlrs-benchmark-") as place, registries() as registry:
        directory = Path(place)
        directory.chmod(0o755)
        layers = small_layers(session.distribution.bin_dir.parent, directory)
        with registry.client() as client:
            push(client, "same", "latest", small_image(layers))
            push(client, "postgis", "latest", postgis_image(directory))
        for where, parent in session.stores.items():
            with scratch(parent) as own:
                yield from _pulled_and_bundled(session, where, own, f"{registry.host}/same")
        yield from _pull_and_copy(session, directory, f"{registry.host}/postgis")


def _pulled_and_bundled(
    session: Session, where: str, directory: Path, pulled: str
) -> Iterator[Timing]:
    """Measure cached prepares of both in turn, so that both meet the same machine."""
    directory.chmod(0o755)  # the servers' user has to reach the images
    work = Input("empty", ("-c", "SELECT 1"))
    timings = {
        session.image: Timing(f"{CACHED}, bundled build", where),
        pulled: Timing(f"{CACHED}, pulled image", where),
    }
    environ = {"SQLRS_IMAGE_STORE": str(directory / "images")}
    with Daemon(directory, directory / "store", environ) as engine:
        for image in timings:
            engine.prepare(work.request(image))
        with engine.without_pool():
            for _ in range(session.runs):
                for image, timing in timings.items():
                    with timing.sample():
                        result = engine.prepare(work.request(image))["result"]
                        select_one(result["dsn"])
                    engine.delete(f"/v1/instances/{result['instance_id']}")
    yield from timings.values()
    yield Timing(
        "cached prepare, pulled image to bundled build",
        where,
        unit="times",
        target=PULLED_TO_BUNDLED,
        samples=[timings[pulled].p50 / timings[session.image].p50],
    )


def _pull_and_copy(session: Session, directory: Path, image: str) -> Iterator[Timing]:
    """Measure pulls of PostGIS into empty stores, and what ``skopeo copy`` takes for as much."""
    pull = Timing("pull of PostGIS from loopback", "image store")
    copy = Timing("skopeo copy of PostGIS to a directory", "image store", is_rival=True)
    skopeo = shutil.which("skopeo")
    store = directory / "images"
    command = [sys.executable, "-m", "sqlrs_engine", "postgres", "pull"]
    # An installation has its bytecode from the beginning; a checkout has it after the first run.
    environ = os.environ | {
        "SQLRS_IMAGE_STORE": str(store),
        "PYTHONPYCACHEPREFIX": str(directory / "bytecode"),
    }
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    _run([*command, image], environ)
    shutil.rmtree(store)
    for _ in range(session.cold_runs):
        with pull.sample():
            _run([*command, image], environ)
        shutil.rmtree(store)
        if skopeo is not None:
            target = directory / "copy"
            options = ["--quiet", "--src-tls-verify=false"]
            with copy.sample():
                _run([skopeo, "copy", *options, f"docker://{image}", f"dir:{target}"], environ)
            shutil.rmtree(target)
    yield pull
    if skopeo is not None:
        yield copy
        yield Timing(
            "pull of PostGIS to skopeo copy",
            "image store",
            unit="times",
            target=PULL_TO_COPY,
            samples=[pull.p50 / copy.p50],
        )


def _run(command: list[str], environ: dict[str, str]) -> None:
    subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
