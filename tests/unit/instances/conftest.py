"""The parts of an engine that instances need, over fake servers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.instance_fakes import World

from sqlrs_engine.store.records import Instance


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    world = World(tmp_path)
    yield world
    world.close()


@pytest.fixture
def instance(world: World) -> Instance:
    """An instance of state 1 whose content has changed."""
    instance = world.create(world.add_state(1), name="dev")
    world.server_of(instance).content = "changed"
    return instance
