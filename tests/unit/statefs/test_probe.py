"""Choosing how to clone."""

import errno
import tempfile

import pytest

from sqlrs_engine.errors import InvalidArgument, StorageFull
from sqlrs_engine.statefs import btrfs, probe
from sqlrs_engine.statefs.probe import choose_backend


@pytest.fixture
def plain(monkeypatch):
    """A filesystem that can do nothing special."""

    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "operation not supported")

    monkeypatch.setattr(probe, "share", unsupported)
    monkeypatch.setattr(btrfs, "create_subvolume", unsupported)


@pytest.fixture
def reflinks(plain, monkeypatch):
    """A filesystem with reflinks."""
    monkeypatch.setattr(probe, "share", lambda *_: None)


@pytest.mark.usefixtures("plain")
def test_auto_falls_back_to_copies(tmp_path):
    backend = choose_backend(tmp_path, "auto")
    assert (backend.name, backend.copy_on_write) == ("copy", False)


@pytest.mark.usefixtures("reflinks")
def test_auto_takes_reflinks_where_they_are(tmp_path):
    backend = choose_backend(tmp_path, "auto")
    assert (backend.name, backend.copy_on_write) == ("reflink", True)


@pytest.mark.usefixtures("reflinks")
@pytest.mark.parametrize("wanted", ["copy", "reflink"])
def test_what_is_asked_for_is_taken(tmp_path, wanted):
    assert choose_backend(tmp_path, wanted).name == wanted


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("wanted", ["reflink", "btrfs"])
def test_what_does_not_work_here_is_refused_with_advice(tmp_path, wanted):
    with pytest.raises(InvalidArgument, match=wanted) as caught:
        choose_backend(tmp_path, wanted)
    assert "set snapshot.backend to auto" in caught.value.details


@pytest.mark.parametrize("wanted", ["overlay", "zfs", ""])
def test_what_there_is_not_is_refused_with_the_choices(tmp_path, wanted):
    with pytest.raises(InvalidArgument) as caught:
        choose_backend(tmp_path, wanted)
    assert "auto, btrfs, reflink" in str(caught.value)


def test_nothing_is_left_behind(tmp_path):
    for wanted in ("auto", "copy"):
        choose_backend(tmp_path, wanted)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["TemporaryFile", "TemporaryDirectory"])
def test_a_full_disk_is_no_answer(tmp_path, monkeypatch, name):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(tempfile, name, full)
    with pytest.raises(StorageFull):
        choose_backend(tmp_path, "auto")


def test_a_full_btrfs_is_not_taken_for_another(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(btrfs, "create_subvolume", full)
    with pytest.raises(StorageFull):
        choose_backend(tmp_path, "auto")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_directory_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        choose_backend(tmp_path / "missing", "auto")
