"""The cache's status: numbers from rows and the disk alone."""

import pytest
from support.cache_fakes import GIB, CacheWorld
from support.instance_fakes import state_id

from sqlrs_engine.httpapi import spec


@pytest.fixture
def world(tmp_path):
    world = CacheWorld(tmp_path)
    yield world
    world.close()


def test_an_empty_cache(world):
    world.configure(reserveBytes=None)
    assert world.report.status() == {
        "usage_bytes": 0,
        "effective_max_bytes": 900 * GIB,
        "reserve_bytes": 100 * GIB,
        "high_watermark": 0.9,
        "low_watermark": 0.8,
        "min_state_age": "10m0s",
        "store_total_bytes": 1000 * GIB,
        "store_free_bytes": 1000 * GIB,
        "state_count": 0,
        "dump_bytes": 0,
        "dump_count": 0,
        "copy_on_write": False,
        "reclaimable_bytes": 0,
        "blocked_count": 0,
        "pressure_reasons": [],
    }


def test_states_are_counted_by_what_keeps_them(world):
    world.configure(maxBytes=1000)
    world.add(1, size=10)
    world.add(2, parent=1, size=20)  # goes first, then its parent can
    world.create(world.add(3, size=30))
    world.add(4, size=40)
    world.add(5, parent=4, size=50, age=1)  # young: its parent stays as well
    status = world.report.status()
    assert (status["usage_bytes"], status["state_count"]) == (150, 5)
    assert (status["reclaimable_bytes"], status["blocked_count"]) == (30, 3)
    assert (status["configured_max_bytes"], status["effective_max_bytes"]) == (1000, 1000)


def test_pressure_is_shown(world):
    world.configure(maxBytes=100, reserveBytes=GIB)
    world.others = 1000 * GIB - 500
    world.add(1, size=91)
    assert world.report.status()["pressure_reasons"] == [
        "usage_above_high_watermark",
        "physical_free_below_reserve",
    ]


def test_the_last_eviction_is_kept_across_restarts(world):
    world.configure(maxBytes=1000)
    for number in range(10):
        world.add(number, age=4000 - number)
    world.add(10, size=5, age=5)
    world.cache.make_room("snapshot", [state_id(5)])
    expected = {
        "completed_at": world.clock.now,
        "trigger": "snapshot",
        "evicted_count": 3,
        "freed_bytes": 300,
        "blocked_count": 2,
        "reclaimable_bytes": 600,
        "usage_bytes_before": 1005,
        "usage_bytes_after": 705,
        "free_bytes_before": 1000 * GIB - 1005,
        "free_bytes_after": 1000 * GIB - 1005,  # the files go in the background
    }
    assert world.report.status()["last_eviction"] == expected
    world.clock.advance(60)
    world.cache.make_room("snapshot")  # evicts nothing, and changes nothing
    world.new_cache()
    assert world.report.status()["last_eviction"] == expected


def test_the_answer_has_the_documented_fields(world):
    world.configure(maxBytes=1000)
    for number in range(10):
        world.add(number)
    world.cache.make_room("prepare_step")
    schemas = spec.document()["components"]["schemas"]
    status = world.report.status()
    assert set(status) == set(schemas["CacheStatus"]["properties"])
    assert set(status["last_eviction"]) == set(schemas["Eviction"]["properties"])
