"""What runs out is told by its name."""

import errno
import json
import os
import resource

import pytest
from support.http_fakes import Api

from sqlrs_engine.errors import ClusterFailed, StorageFull, Unavailable
from sqlrs_engine.host.file_descriptors import out_of_descriptors, raise_descriptor_limit, shortage
from sqlrs_engine.postgres.distributions import search
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.fingerprints import Fingerprints
from sqlrs_engine.store.sqlite import SqliteStore

NO_DESCRIPTOR = OSError(errno.EMFILE, os.strerror(errno.EMFILE))


@pytest.fixture
def no_descriptor_left():
    """Use up all descriptors, few as they are for the moment."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_shortage_is_found_behind_other_failures():
    try:
        try:
            raise NO_DESCRIPTOR
        except OSError as error:
            raise ClusterFailed("cannot run postgres", str(error)) from error
    except ClusterFailed as error:
        lack = shortage(error)
    assert "file descriptors" in lack.message
    assert (lack.code, lack.status) == ("unavailable", 503)
    assert "memory" in shortage(OSError(errno.ENOMEM, "Cannot allocate memory")).message
    assert "memory" in shortage(MemoryError()).message


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EACCES, "Permission denied"), StorageFull("full"), Unavailable("stopping")],
)
def test_other_failures_are_no_shortage(error):
    assert shortage(error) is None


def test_a_failure_that_led_to_itself_is_none_either():
    first, second = ClusterFailed("first"), ClusterFailed("second")
    first.__cause__, second.__cause__ = second, first
    assert shortage(first) is None


def test_descriptors_that_are_used_up(no_descriptor_left):
    assert out_of_descriptors()


def test_descriptors_that_are_not():
    assert not out_of_descriptors()


def test_the_soft_limit_is_raised():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        lower = min(before[0], before[1]) - 1
        resource.setrlimit(resource.RLIMIT_NOFILE, (lower, before[1]))
        limit = raise_descriptor_limit()
        assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= lower
        assert raise_descriptor_limit() == limit
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("call", ["of", "ask"])
def test_it_is_not_taken_for_a_lack_of_postgresql(tmp_path, monkeypatch, call):
    found = Distributions(tmp_path / "postgres", search=[tmp_path])

    def fail(*_args, **_fields):
        raise NO_DESCRIPTOR

    if call == "of":
        monkeypatch.setattr(Fingerprints, "of", fail)
    else:
        (tmp_path / "pg_config").write_text("#!/bin/sh")
        (tmp_path / "pg_config").chmod(0o755)
        monkeypatch.setattr(search.subprocess, "run", fail)
    with pytest.raises(Unavailable, match="file descriptors"):
        found.resolve("postgres:18")
    monkeypatch.undo()
    assert found.resolve("postgres:18").major == 18


def test_nor_for_a_lack_of_permissions(tmp_path, no_descriptor_left):
    with pytest.raises(Unavailable, match="file descriptors"):
        SqliteStore(tmp_path / "state.db")


def test_clients_are_told(tmp_path, monkeypatch):
    api = Api(tmp_path)

    def fail(*_args, **_fields):
        raise NO_DESCRIPTOR

    monkeypatch.setattr(api.services.store.states, "get", fail)
    response = api.get(f"/v1/states/{'0' * 64}")
    assert response.status_code == 503
    assert "file descriptors" in json.loads(response.content)["message"]
