"""sources.blobs, sources.trees, sources.Sources: uploads, their use and their end."""

import errno
import hashlib
import io
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from sqlrs_engine.config import Config
from sqlrs_engine.errors import Conflict, InvalidArgument, SourceBlobTooLarge, StorageFull
from sqlrs_engine.sources import Blobs, Sources, Trees
from sqlrs_engine.sources.sources import SHORTEST_TTL


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def put(blobs: Blobs | Sources, content: bytes, *rest: int) -> str:
    digest = digest_of(content)
    with blobs.receive(digest, *rest) as upload:
        upload.write(content)
        upload.finish()
    return digest


def everything(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


@pytest.fixture
def now() -> list[float]:
    return [1_000_000.0]


@pytest.fixture
def blobs(tmp_path: Path, now: list[float]) -> Blobs:
    return Blobs(tmp_path / "blobs", lambda: now[0])


def test_a_content_is_stored_under_its_digest(blobs: Blobs, tmp_path: Path) -> None:
    assert not blobs.use(digest_of(b"select 1"))
    digest = put(blobs, b"select 1", 100)
    path = tmp_path / "blobs" / "sha256" / digest[:2] / digest
    assert everything(tmp_path) == [path]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert blobs.use(digest)
    assert blobs.read(digest) == b"select 1"
    target = io.BytesIO()
    assert blobs.copy(digest, target)
    assert target.getvalue() == b"select 1"
    assert put(blobs, b"select 1", 100) == digest


def test_a_blob_with_another_digest_is_not_stored(blobs: Blobs, tmp_path: Path) -> None:
    with blobs.receive("ab" * 32, 100) as upload:
        upload.write(b"select 1")
        with pytest.raises(InvalidArgument, match="does not match the digest"):
            upload.finish()
    assert everything(tmp_path) == []


def test_an_upload_cut_short_leaves_nothing(blobs: Blobs, tmp_path: Path) -> None:
    with blobs.receive("ab" * 32, 100) as upload:
        upload.write(b"select 1")
    assert everything(tmp_path) == []


@pytest.mark.parametrize("digest", ["", "ab", "AB" * 32, "../" * 20, "ab" * 32 + "\n"])
def test_only_a_digest_is_a_name(blobs: Blobs, digest: str) -> None:
    with pytest.raises(InvalidArgument):
        blobs.receive(digest, 100)


def test_the_limit_is_for_declared_and_for_written_bytes(blobs: Blobs, tmp_path: Path) -> None:
    put(blobs, b"x" * 10, 10, 10)
    with pytest.raises(SourceBlobTooLarge, match="10 bytes"):
        blobs.receive(digest_of(b"x" * 11), 10, 11)
    with blobs.receive("ab" * 32, 10) as upload:
        upload.write(b"x" * 6)
        with pytest.raises(SourceBlobTooLarge):
            upload.write(b"x" * 5)
    assert len(everything(tmp_path)) == 1


@pytest.mark.parametrize("content", [b"", b"select 2"])
def test_a_damaged_content_is_a_missing_one(blobs: Blobs, tmp_path: Path, content: bytes) -> None:
    for use in (blobs.read, lambda digest: blobs.copy(digest, io.BytesIO())):
        digest = put(blobs, b"select 1", 100)
        (path,) = everything(tmp_path)
        path.write_bytes(content)
        assert not use(digest)
        assert not blobs.use(digest)
        assert not use(digest)


def test_a_full_disk_is_told(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: object, **_options: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "open", full)
    with pytest.raises(StorageFull):
        blobs.receive("ab" * 32, 100)


def test_blobs_unused_for_long_are_collected(blobs: Blobs, now: list[float]) -> None:
    old, used, kept = (put(blobs, text, 100) for text in (b"old", b"used", b"kept"))
    now[0] += 50
    assert blobs.use(used)
    now[0] += 51
    assert blobs.collect(lambda: {kept}, 100) == 1
    assert [blobs.use(each) for each in (old, used, kept)] == [False, True, True]


def test_nobody_is_asked_while_nothing_is_old(blobs: Blobs) -> None:
    put(blobs, b"young", 100)

    def keep() -> set[str]:
        raise AssertionError

    assert blobs.collect(keep, 100) == 0


def test_blobs_used_during_a_collection_stay(blobs: Blobs, now: list[float]) -> None:
    digest = put(blobs, b"used just now", 100)
    now[0] += 101

    def keep() -> set[str]:
        assert blobs.use(digest)
        return set()

    assert blobs.collect(keep, 100) == 0
    assert blobs.use(digest)


def test_uploads_of_an_earlier_engine_are_swept(tmp_path: Path) -> None:
    earlier, later = Blobs(tmp_path), Blobs(tmp_path)
    later.sweep()
    with earlier.receive("ab" * 32, 10), later.receive("cd" * 32, 10):
        assert len(everything(tmp_path)) == 2
        later.sweep()
        assert len(everything(tmp_path)) == 1


def test_a_tree_has_the_files_in_their_places(blobs: Blobs, tmp_path: Path) -> None:
    one, two = put(blobs, b"one", 9), put(blobs, b"two", 9)
    trees = Trees(tmp_path / "sources", blobs)
    place = trees.stage("job", {"a.sql": one, "sub/dir/b.sql": two})
    assert (place / "a.sql").read_bytes() == b"one"
    assert (place / "sub/dir/b.sql").read_bytes() == b"two"
    assert stat.S_IMODE((place / "a.sql").stat().st_mode) == 0o600
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    (place / "a.sql").chmod(0o600)
    (place / "a.sql").write_bytes(b"changed by a script")
    assert blobs.read(one) == b"one"
    trees.remove("job")
    trees.remove("job")
    assert list((tmp_path / "sources").iterdir()) == []


def test_removal_follows_no_link(blobs: Blobs, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    trees = Trees(tmp_path / "sources", blobs)
    place = trees.stage("job", {})
    (place / "link").symlink_to(outside)
    trees.remove("job")
    assert not place.exists()
    assert (outside / "precious").read_text() == "mine"


def test_a_tree_needs_its_contents(blobs: Blobs, tmp_path: Path) -> None:
    trees = Trees(tmp_path / "sources", blobs)
    with pytest.raises(Conflict, match="prepare again"):
        trees.stage("job", {"a.sql": "ab" * 32})
    assert list((tmp_path / "sources").iterdir()) == []
    trees.stage("job", {"a.sql": put(blobs, b"there by now", 100)})


def test_trees_of_an_earlier_engine_are_swept(blobs: Blobs, tmp_path: Path) -> None:
    earlier, later = (Trees(tmp_path / "sources", blobs) for _ in range(2))
    later.sweep()
    old, new = earlier.stage("job", {}), later.stage("job", {})
    later.sweep()
    assert (old.exists(), new.exists()) == (False, True)


def test_jobs_keep_what_they_need(tmp_path: Path) -> None:
    jobs = []
    config = Config(tmp_path / "config.json")
    sources = Sources(tmp_path, config, lambda: jobs)
    needed, not_needed = put(sources, b"needed"), put(sources, b"not needed")
    manifest = {"files": {"a.sql": f"sha256:{needed}"}}
    jobs += [SimpleNamespace(request={"source_manifest": manifest}), SimpleNamespace(request={})]
    config.set("sources.blobs.ttl", "0s")
    assert sources.collect() == 0  # a client may be about to ask for them
    for path in everything(tmp_path / "blobs"):
        age = path.stat().st_mtime - SHORTEST_TTL - 60
        os.utime(path, (age, age))
    assert sources.collect() == 1
    assert (sources.blobs.use(needed), sources.blobs.use(not_needed)) == (True, False)


def test_the_limit_is_configured(tmp_path: Path) -> None:
    config = Config(tmp_path / "config.json")
    sources = Sources(tmp_path, config, list)
    config.set("sources.blobs.maxBytes", 4)
    with pytest.raises(SourceBlobTooLarge, match="4 bytes"):
        put(sources, b"12345")


def test_sources_are_swept_and_collected_in_the_background(tmp_path: Path) -> None:
    earlier = Sources(tmp_path, Config(tmp_path / "config.json"), list)
    tree = earlier.trees.stage("job", {})
    sources = Sources(tmp_path, Config(tmp_path / "config.json"), list)
    sources.start()
    sources.stop()
    assert not tree.exists()
