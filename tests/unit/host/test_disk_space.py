"""A full disk: told from other failures, relieved again and again."""

import errno

import pytest

from sqlrs_engine.errors import StorageFull
from sqlrs_engine.host.ballast import PIECES, Ballast
from sqlrs_engine.host.disk_space import exhausted, is_full, space_on, with_relief

FULL = StorageFull("the disk is full")


def test_only_the_number_of_an_error_counts():
    assert is_full(OSError(errno.ENOSPC, "whatever"))
    assert is_full(OSError(errno.EDQUOT, "whatever"))
    assert not is_full(OSError(errno.EIO, "No space left on device"))
    assert not is_full(ValueError("No space left on device"))


def test_a_disk_is_exhausted_below_some_bytes(tmp_path):
    assert not exhausted(tmp_path, 0)
    assert exhausted(tmp_path, 1 << 62)
    assert not exhausted(tmp_path / "missing")


def test_a_full_disk_is_storage_full(tmp_path):
    with pytest.raises(StorageFull, match="sqlrs-engine rm"), space_on(tmp_path):
        raise OSError(errno.EDQUOT, "quota")
    with pytest.raises(OSError, match="broken"), space_on(tmp_path):
        raise OSError(errno.EIO, "broken")


def test_each_relief_gives_four_times_as_much():
    sizes = []

    def work():
        if len(sizes) < 3:
            raise FULL
        return "done"

    assert with_relief(work, lambda failure, size: not sizes.append(size)) == "done"
    assert [size // sizes[0] for size in sizes] == [1, 4, 16]


def test_without_relief_a_failure_is_one():
    def work():
        raise FULL

    with pytest.raises(StorageFull) as caught:
        with_relief(work, lambda failure, size: False)
    assert caught.value is FULL


def test_ballast_is_given_up_piece_by_piece_and_restored(tmp_path):
    told = []
    ballast = Ballast(tmp_path, on_release=lambda: told.append(1))
    assert not ballast.release()
    ballast.restore()
    assert [ballast.release() for _ in range(PIECES + 1)] == [True] * PIECES + [False]
    assert len(told) == PIECES + 2
    (tmp_path / "ballast" / "0").write_bytes(b"half made")
    ballast.restore()
    assert len({piece.stat().st_size for piece in (tmp_path / "ballast").iterdir()}) == 1


def test_a_disk_without_plenty_of_room_gets_no_ballast(tmp_path, monkeypatch):
    monkeypatch.setattr("sqlrs_engine.host.ballast.exhausted", lambda place, below: True)
    with pytest.raises(StorageFull):
        Ballast(tmp_path).restore()
    assert list(tmp_path.iterdir()) == []
