"""Versions and hashes of server programs, remembered while the file stays the same."""

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.postgres.distributions import fingerprints as module
from sqlrs_engine.postgres.distributions.fingerprints import (
    Fingerprint,
    Fingerprints,
    take_fingerprint,
)

FakePrograms = Callable[..., Path]


@pytest.fixture
def program(tmp_path: Path, fake_programs: FakePrograms) -> Path:
    return fake_programs(tmp_path / "bin", "17.2 (Debian 17.2-1)") / "postgres"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "store" / "fingerprints.json"


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The programs that were really looked at."""
    calls: list[Path] = []

    def take(program: Path) -> Fingerprint:
        calls.append(program)
        return take_fingerprint(program)

    monkeypatch.setattr(module, "take_fingerprint", take)
    return calls


def rewrite(program: Path, version: str) -> None:
    program.write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")


def test_a_fingerprint_has_the_banner_the_version_and_the_hash(program: Path) -> None:
    fingerprint = take_fingerprint(program)
    assert fingerprint.banner == "postgres (PostgreSQL) 17.2 (Debian 17.2-1)"
    assert fingerprint.version == "17.2"
    assert fingerprint.major == 17
    assert fingerprint.build == hashlib.sha256(program.read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("banner", "version", "major"),
    [
        ("postgres (PostgreSQL) 14.23", "14.23", 14),
        ("postgres (PostgreSQL) 18beta1", "18beta1", 18),
        ("postgres (PostgreSQL) 18rc2", "18rc2", 18),
        ("postgres (PostgreSQL) 19devel", "19devel", 19),
        ("postgres (PostgreSQL) 9.6.24", "9.6", 9),
    ],
)
def test_the_version_and_the_major_of_a_banner(banner: str, version: str, major: int) -> None:
    fingerprint = Fingerprint(banner, "")
    assert (fingerprint.version, fingerprint.major) == (version, major)


def test_a_banner_of_another_program_is_an_error() -> None:
    with pytest.raises(ClusterFailed, match="unknown version"):
        _ = Fingerprint("mysqld 8", "").version


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo hello", "hello"),
        ("echo 'libxml2.so.2: cannot open' >&2; exit 127", "libxml2.so.2: cannot open"),
        ("echo 'postgres (PostgreSQL) 17.2'; exit 1", "does not run"),
    ],
)
def test_a_server_program_that_does_not_run_is_an_error(
    program: Path, script: str, words: str
) -> None:
    program.write_text(f"#!/bin/sh\n{script}\n")
    with pytest.raises(ClusterFailed, match=words):
        take_fingerprint(program)


def test_a_server_program_that_hangs_is_an_error(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.05)
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    with pytest.raises(ClusterFailed, match="does not answer"):
        take_fingerprint(program)


def test_a_server_program_sees_nothing_of_the_engines_environment(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLRS_SECRET", "token")
    program.write_text('#!/bin/sh\necho "postgres (PostgreSQL) 17.2 $SQLRS_SECRET"\n')
    assert take_fingerprint(program).banner == "postgres (PostgreSQL) 17.2"


def test_a_server_program_is_asked_once(program: Path, cache: Path, taken: list[Path]) -> None:
    fingerprints = Fingerprints(cache)
    assert fingerprints.of(program) == fingerprints.of(program)
    assert Fingerprints(cache).of(program) == fingerprints.of(program)
    assert taken == [program]


def test_a_changed_server_program_is_asked_again(
    program: Path, cache: Path, taken: list[Path]
) -> None:
    fingerprints = Fingerprints(cache)
    before = fingerprints.of(program)
    status = program.stat()
    program.with_name("new").write_text(program.read_text().replace("17.2", "17.3"))
    program.with_name("new").chmod(0o755)
    program.with_name("new").replace(program)
    os.utime(program, ns=(status.st_atime_ns, status.st_mtime_ns))  # another inode, that is all
    assert program.stat().st_size == status.st_size
    after = fingerprints.of(program)
    assert (before.version, after.version) == ("17.2", "17.3")
    os.utime(program, ns=(1, 1))
    assert fingerprints.of(program) == after
    assert len(taken) == 3


def test_a_failed_fingerprint_is_not_remembered(program: Path, cache: Path) -> None:
    fingerprints = Fingerprints(cache)
    program.write_text("#!/bin/sh\nexit 1\n")
    with pytest.raises(ClusterFailed):
        fingerprints.of(program)
    rewrite(program, "17.9")
    assert fingerprints.of(program).version == "17.9"


def test_a_missing_server_program_is_an_error(cache: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        Fingerprints(cache).of(cache / "postgres")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b'{"PROGRAM": 1}',
        b'{"PROGRAM": {"banner": "postgres (PostgreSQL) 17.2"}}',
        b'{"PROGRAM": {"banner": 17, "build": "x"}}',
        b'{"PROGRAM": {"banner": "mysqld", "build": "x"}}',
        b'{"PROGRAM": {"banner": "postgres (PostgreSQL) 1.1", "build": "x"}}',
    ],
)
def test_a_corrupt_cache_of_fingerprints_is_ignored(
    program: Path, cache: Path, content: bytes
) -> None:
    cache.parent.mkdir()
    cache.write_bytes(content.replace(b"PROGRAM", str(program).encode()))
    assert Fingerprints(cache).of(program).version == "17.2"
    assert json.loads(cache.read_bytes())[str(program)]["build"]


def test_a_cache_of_fingerprints_that_cannot_be_read_or_written_is_only_slow(
    program: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache.mkdir(parents=True)
    with caplog.at_level(logging.WARNING):
        assert Fingerprints(cache).of(program).version == "17.2"
    assert "ignoring the fingerprints" in caplog.text
    assert "cannot keep the fingerprints" in caplog.text
    assert list(cache.parent.iterdir()) == [cache]  # no temporary file is left


def test_threads_ask_a_server_program_once(program: Path, cache: Path, taken: list[Path]) -> None:
    fingerprints = Fingerprints(cache)
    threads = [threading.Thread(target=fingerprints.of, args=(program,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert taken == [program]
