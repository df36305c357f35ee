"""An image that is removed although instances need it, and comes back."""

from pathlib import Path

import pytest
from support.fix_engine import EngineProcess
from support.fix_images import PushedImage
from support.image_engines import images, value

from sqlrs_engine.postgres.images.image_store import ImageStore

pytestmark = pytest.mark.postgres


def test_an_instance_says_how_to_get_its_image_back(
    own_pulling_engine: EngineProcess, image_store: Path, small_postgres: PushedImage
) -> None:
    engine, digest = own_pulling_engine, small_postgres.image.digest
    made = engine.prepare("-c", "create table t()", image=small_postgres.reference)
    instance = f"/v1/instances/{made['instance_id']}"
    ImageStore(image_store).remove(digest)
    assert images(engine) == []

    refused = engine.call("POST", f"{instance}/reset")
    assert (refused.status_code, refused.json()["code"]) == (409, "image_unavailable")
    assert f"sqlrs-engine postgres pull {small_postgres.reference}@{digest}" in refused.text
    assert value(made["dsn"], "select count(*) from t") == 0, "its server does not run on"

    again = engine.prepare("-c", "select 1", image=f"{small_postgres.reference}@{digest}")
    assert again["image_id"] == made["image_id"]
    reset = engine.call("POST", f"{instance}/reset")
    assert reset.status_code == 200, reset.text
    assert value(reset.json()["dsn"], "select count(*) from t") == 0
