"""``store create`` for real: a filesystem is made, mounted and works as a store."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fix_engine import EngineFactory, EngineProcess

from sqlrs_engine import cli
from sqlrs_engine.commands.store import KINDS
from sqlrs_engine.statefs.probe import choose_backend

pytestmark = [pytest.mark.root, pytest.mark.slow]


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    if os.geteuid() != 0:
        pytest.skip("mounting takes root")
    if shutil.which(KINDS[request.param].mkfs[0]) is None:
        pytest.skip(f"there is no mkfs for {request.param}")
    name: str = request.param
    return name


@pytest.fixture
def engine(engine_factory: EngineFactory) -> Iterator[EngineProcess]:
    """An engine that has not been started; its store is unmounted before it is deleted."""
    engine = engine_factory("--idle-timeout", "0")
    yield engine
    engine.close()
    if engine.store.is_mount():
        subprocess.run(["umount", str(engine.store)], check=True)


@pytest.mark.postgres
def test_a_store_in_a_file(
    engine: EngineProcess, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["store", "create", "--size", "400M", "--fs", kind, "--path", str(engine.store)]
    environ = {"PATH": os.environ["PATH"]}
    if cli.main(command, environ) != 0:
        error = capsys.readouterr().err
        if "mount failed" in error:
            pytest.skip(f"this machine cannot mount a file: {error}")
        pytest.fail(error)
    text = capsys.readouterr().out
    image = engine.store.with_name("store.img")
    assert engine.store.is_mount()
    assert f"{image} {engine.store} {kind} loop" in text
    assert f"umount {engine.store} && rm {image}" in text
    assert image.stat().st_mode & 0o777 == 0o600
    assert image.stat().st_blocks * 512 < 200 * 2**20, "it is not sparse"
    assert choose_backend(engine.store, "auto").copy_on_write

    assert cli.main(command, environ) == 1
    assert "already" in capsys.readouterr().err

    engine.start()
    first, second = (engine.prepare("-c", "create table t ()") for _ in range(2))
    assert first["state_id"] == second["state_id"]
    assert cli.main(command, environ) == 1


def test_the_owner_of_the_place_owns_the_store(kind: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 1234, 1234)
    place = home / "state" / "store"
    command = ["store", "create", "--size", "300M", "--fs", kind, "--path", str(place)]
    if cli.main(command, {"PATH": os.environ["PATH"]}) != 0:
        pytest.skip("this machine cannot mount a file")
    try:
        owners = {(p.stat().st_uid, p.stat().st_mode & 0o777) for p in (place, place.parent)}
        assert owners == {(1234, 0o700)}
    finally:
        subprocess.run(["umount", str(place)], check=True)
