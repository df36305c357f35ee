"""Images as an engine wires them: the settings in force are those of the moment."""

from pathlib import Path

import pytest

from sqlrs_engine.config import Config
from sqlrs_engine.engine.images import stored_images
from sqlrs_engine.engine.offline import states_of
from sqlrs_engine.errors import ImageUnavailable, RegistryUnavailable
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation
from sqlrs_engine.statefs.layout import Layout


def test_a_change_of_the_settings_counts_for_the_next_pull(tmp_path: Path, free_port: int) -> None:
    config = Config(tmp_path / "config.json")
    images = stored_images(tmp_path / "images", tmp_path, config, None, {})
    work = JobContext(Cancellation(), lambda line: None)
    config.set("images.pull", "never")
    with pytest.raises(ImageUnavailable, match=r"images\.pull is never"):
        images.resolve("registry.invalid/x:1", work)
    config.set("images.pull", "missing")
    config.set("images.registries", {"registry.invalid": {"mirrors": [f"localhost:{free_port}"]}})
    with pytest.raises(RegistryUnavailable):
        images.resolve("registry.invalid/x:1", work)


def test_the_states_of_an_image_are_counted_without_the_database(tmp_path: Path) -> None:
    one, two = (f"postgres@sha256:{digit * 64}" for digit in "ab")
    layout = Layout(tmp_path)
    for digit in "12":
        layout.state_dir(one, digit * 64).mkdir(parents=True)
    layout.instance_dir("c" * 32).mkdir(parents=True)
    assert (states_of(tmp_path, one), states_of(tmp_path, two)) == (2, 0)
