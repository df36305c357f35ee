"""Limits and pressure: numbers in, reasons out."""

import pytest

from sqlrs_engine.cache.capacity import Disk, Goal, Limits, Need, Usage, default_reserve
from sqlrs_engine.config import Config

GIB = 1024**3
USAGE_HIGH, FREE_LOW = "usage_above_high_watermark", "physical_free_below_reserve"


@pytest.fixture
def config(tmp_path):
    return Config(tmp_path / "config.json")


def limits(config, total=1000 * GIB, **capacity):
    for name, value in capacity.items():
        config.set(f"cache.capacity.{name}", value)
    return Limits.configured(config, total)


def usage(size, free=1000 * GIB):
    return Usage(size_bytes=size, state_count=1, disk=Disk(1000 * GIB, free))


@pytest.mark.parametrize(
    ("total", "reserve"),
    [
        (270553174016, 27055317401),  # as the upstream engine says
        (50 * GIB, 10 * GIB),
        (100 * GIB, 10 * GIB),
        (101 * GIB, 101 * GIB // 10),
        (8 * GIB, 4 * GIB),
        (0, 0),
    ],
)
def test_the_default_reserve_is_a_tenth_or_10_gib_but_at_most_half(total, reserve):
    assert default_reserve(total) == reserve


def test_the_limit_is_what_the_reserve_leaves(config):
    found = limits(config, total=270553174016)
    assert (found.effective_max, found.reserve) == (243497856615, 27055317401)
    assert (found.max_bytes, found.high_watermark, found.low_watermark) == (0, 0.9, 0.8)


def test_a_configured_limit_counts_when_it_is_less(config):
    assert limits(config, maxBytes=5 * GIB, reserveBytes=GIB).effective_max == 5 * GIB
    assert limits(config, maxBytes=2000 * GIB).effective_max == 999 * GIB


def test_a_reserve_beyond_the_disk_leaves_nothing(config):
    assert limits(config, reserveBytes=1001 * GIB, maxBytes=GIB).effective_max == 0


@pytest.mark.parametrize(
    ("size", "free", "reasons"),
    [
        (0, 1000, []),
        (900, 100, []),
        (901, 100, [USAGE_HIGH]),
        (900, 99, [FREE_LOW]),
        (901, 99, [USAGE_HIGH, FREE_LOW]),
    ],
)
def test_pressure_begins_beyond_the_marks(config, size, free, reasons):
    found = limits(config, maxBytes=1000, reserveBytes=100)
    assert found.pressure(usage(size, free)) == reasons


def test_what_is_to_come_counts(config):
    found = limits(config, maxBytes=1000, reserveBytes=100)
    assert found.pressure(usage(800), Need(size_bytes=100)) == []
    assert found.pressure(usage(800), Need(size_bytes=101)) == [USAGE_HIGH]
    assert found.pressure(usage(0, 200), Need(disk_bytes=101)) == [FREE_LOW]


def test_an_eviction_goes_on_to_the_low_watermark_and_the_reserve(config):
    goal = Goal(limits=limits(config, maxBytes=1000, reserveBytes=100))
    assert not goal.met(usage(801), 0)
    assert goal.met(usage(800), 0)
    assert not goal.met(usage(800, free=99), 0)


def test_space_is_awaited_only_when_it_is_short(config):
    found = limits(config, maxBytes=1000, reserveBytes=100)
    assert not Goal(limits=found).awaits_space(usage(950))
    assert Goal(limits=found).awaits_space(usage(950, free=99))
    assert Goal(limits=found, at_least=1).awaits_space(usage(0))


def test_the_disk_is_measured(tmp_path):
    disk = Disk.of(tmp_path)
    assert 0 < disk.free <= disk.total


def test_apparent_sizes_count_with_shared_blocks_only_against_the_users_own_limit(config):
    free = limits(config, total=16 * GIB, reserveBytes=GIB)
    shared = Limits.configured(config, 16 * GIB, shares_blocks=True)
    large = usage(100 * GIB, free=10 * GIB)
    assert free.pressure(large) == [USAGE_HIGH]
    assert shared.pressure(large) == []
    assert Goal(limits=shared).met(large, 0)
    assert shared.pressure(usage(0, free=GIB // 2)) == [FREE_LOW]
    config.set("cache.capacity.maxBytes", 90 * GIB)
    own = Limits.configured(config, 16 * GIB, shares_blocks=True)
    assert own.effective_max == 90 * GIB
    assert own.pressure(large) == [USAGE_HIGH]
