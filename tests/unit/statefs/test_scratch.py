"""Scratch directories: there while they are needed, swept after a crash."""

from pathlib import Path

import pytest

from sqlrs_engine.statefs.scratch import Scratch


def test_a_directory_is_private_and_goes_with_what_is_in_it(tmp_path: Path) -> None:
    with Scratch(tmp_path).directory() as directory:
        assert directory.stat().st_mode & 0o777 == 0o700
        (directory / "sub").mkdir()
        (directory / "sub" / "out.txt").write_text("x")
    assert not directory.exists()


def test_a_directory_goes_when_its_use_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), Scratch(tmp_path).directory() as directory:
        raise RuntimeError
    assert not directory.exists()


def test_the_next_start_removes_what_a_crash_left(tmp_path: Path) -> None:
    left = tmp_path / "scratch" / "earlier-run"
    left.mkdir(parents=True)
    (left / "out.txt").touch()
    scratch = Scratch(tmp_path)
    with scratch.directory() as directory:
        scratch.sweep()
        assert directory.is_dir()
    assert not left.exists()


def test_there_may_be_nothing_to_sweep(tmp_path: Path) -> None:
    Scratch(tmp_path).sweep()
    assert list(tmp_path.iterdir()) == []
