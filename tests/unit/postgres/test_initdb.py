"""The making of a cluster by an ``initdb`` that cannot be trusted."""

from pathlib import Path

import pytest

from sqlrs_engine.errors import ClusterFailed
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.initdb import initialise
from sqlrs_engine.postgres.launcher import Launcher


@pytest.mark.parametrize(
    "command",
    [
        "mkfifo postgresql.conf",
        "ln -s ../outside postgresql.conf",
        "ln ../outside postgresql.conf",
        "touch postgresql.conf; ln ../outside pg_hba.conf",
        "mkdir postgresql.conf",
        "true",
    ],
)
def test_what_initdb_makes_is_neither_followed_nor_waited_for(tmp_path: Path, command: str) -> None:
    outside = tmp_path / "outside"
    outside.write_text("precious")
    programs = tmp_path / "bin"
    programs.mkdir()
    initdb = programs / "initdb"
    initdb.write_text(f'#!/bin/sh\ncd "$2" && {command}\n')
    initdb.chmod(0o755)
    distribution = Distribution(image_id="", version="17.2", major=17, bin_dir=programs)
    launcher = Launcher(distribution, tmp_path / "data", None, tmp_path / "public")
    with pytest.raises(ClusterFailed, match=r"made no (postgresql|pg_hba)\.conf"):
        initialise(launcher, tmp_path / "data", 17, BaseRecipe(), None, lambda line: None)
    assert outside.read_text() == "precious"
