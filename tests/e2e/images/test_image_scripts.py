"""The scripts of an image's entry point make its base state, or are named by every job."""

from pathlib import Path

import pytest
from support.fix_engine import EngineProcess
from support.fix_images import PushedImage, PushImage
from support.image_engines import value
from support.images import LayerWriter
from support.postgres_images import INIT, small_image

pytestmark = pytest.mark.postgres


def _log(engine: EngineProcess, *arguments: str, image: str) -> tuple[dict[str, str], list[str]]:
    """Prepare; return the job's result and the messages of its log."""
    job_id = engine.submit(*arguments, image=image)
    messages = [str(event["message"]) for event in engine.events(job_id) if event["type"] == "log"]
    job = engine.call("GET", f"/v1/prepare-jobs/{job_id}").json()
    assert job["status"] == "succeeded", job
    return job["result"], messages


def test_a_script_that_fails_is_named_by_every_job_that_begins_there(
    pulling_engine: EngineProcess,
    small_postgres: PushedImage,
    push_image: PushImage,
    tmp_path: Path,
) -> None:
    with LayerWriter(tmp_path / "scripts.tar") as tree:
        tree.file(f"{INIT}/10_tables.sql", b"CREATE TABLE made_by (script text);")
        tree.file(f"{INIT}/20_tune.sh", b"echo tuning; no-such-program --all")
        tree.file(
            f"{INIT}/30_more.sh", b"docker_process_sql -c \"INSERT INTO made_by VALUES('$WHO')\""
        )
    image = push_image(small_image((*small_postgres.image.layers, tree.layer), "WHO=the image"))
    failed = "20_tune.sh of the image failed"
    first, log = _log(pulling_engine, "-c", "SELECT 1", image=image.reference)
    assert "20_tune.sh: tuning" in log
    assert [each for each in log if each.startswith(failed) and "no-such-program" in each]
    assert value(first["dsn"], "SELECT script FROM made_by") == "the image"
    _, log = _log(pulling_engine, "-c", "SELECT 2", image=image.reference)
    assert [each for each in log if each.startswith(failed)]
    assert "20_tune.sh: tuning" not in log
