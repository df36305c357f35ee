"""Temporary files that nobody writes any more."""

import os
from pathlib import Path

import pytest

from sqlrs_engine.config import TEMPORARY
from sqlrs_engine.daemon import engine_file
from sqlrs_engine.engine.composition import Engine
from sqlrs_engine.statefs import temporary_files

OLD = 1_000_000_000


def made(path: Path, *, old: bool = True) -> Path:
    path.touch()
    if old:
        os.utime(path, (OLD, OLD))
    return path


def test_old_ones_go_and_all_else_stays(tmp_path: Path) -> None:
    directory = tmp_path / f"{temporary_files.PROBE}x"
    (directory / "source").mkdir(parents=True)
    (directory / "source" / "file").touch()
    os.utime(directory, (OLD, OLD))
    gone = [directory, made(tmp_path / f"{TEMPORARY}a"), made(tmp_path / ".engine.json.0a")]
    precious = made(tmp_path / "precious")
    link = tmp_path / f"{TEMPORARY}link"
    link.symlink_to(precious)
    os.utime(link, (OLD, OLD), follow_symlinks=False)
    kept = [
        made(tmp_path / f"{TEMPORARY}b", old=False),
        made(tmp_path / "config.json"),
        made(tmp_path / "engine.json"),
        precious,
    ]
    prefix = engine_file.temporary_prefix(tmp_path / "engine.json")
    temporary_files.sweep(tmp_path, TEMPORARY, temporary_files.PROBE, prefix)
    assert not any(map(os.path.lexists, [*gone, link]))
    assert all(path.exists() for path in kept)


def test_what_cannot_be_deleted_does_not_stop_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = [made(tmp_path / f"{TEMPORARY}{letter}") for letter in "abc"]
    unlink = Path.unlink

    def refuse(path: Path) -> None:
        if path == files[1]:
            raise PermissionError("not permitted")
        unlink(path)

    monkeypatch.setattr(Path, "unlink", refuse)
    temporary_files.sweep(tmp_path, TEMPORARY)
    assert [path.exists() for path in files] == [False, True, False]
    assert files[1].name in caplog.text


def test_an_engine_sweeps_its_store(tmp_path: Path) -> None:
    gone = made(tmp_path / f"{TEMPORARY}a")
    engine = Engine(tmp_path)
    try:
        engine.recovery.run()
    finally:
        engine.stop()
        engine.close()
    assert not gone.exists()
