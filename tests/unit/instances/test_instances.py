"""What all operations on instances have in common."""

import pytest

from sqlrs_engine.errors import NotFound
from sqlrs_engine.ids import new_id


def test_an_unknown_instance_is_not_found(world):
    unknown = new_id()
    for call in (
        world.instances.restart.ensure_running,
        world.instances.usage.connections,
        world.instances.reset.apply,
        world.instances.promotion.promote,
        world.instances.expiry.update,
    ):
        with pytest.raises(NotFound):
            call(unknown)
