import os
from pathlib import Path

import pytest

from sqlrs_engine.prepare.observation.values import ABSENT, InputValues
from sqlrs_engine.states.observed_inputs import UNSEEN
from sqlrs_engine.store.records import ObservedInput


@pytest.fixture
def values() -> InputValues:
    return InputValues()


def test_a_file_counts_by_its_content(values, tmp_path):
    given = ObservedInput("file", "sub/../a.sql", None)
    assert values.value(str(tmp_path), given) == ABSENT
    (tmp_path / "a.sql").write_text("one")
    one = values.value(str(tmp_path), given)
    (tmp_path / "a.sql").write_text("two")
    assert values.value(str(tmp_path), given) not in (one, ABSENT)
    (tmp_path / "a.sql").write_text("one")
    assert values.value(str(tmp_path), given) == one


def test_what_is_no_file_is_absent(values, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for name in ("pipe", "."):
        assert values.value(str(tmp_path), ObservedInput("file", name, None)) == ABSENT
    for kind in ("directory", "link"):
        assert values.value(str(tmp_path), ObservedInput(kind, "pipe", None)) == ABSENT


def test_a_directory_counts_by_its_names(values, tmp_path: Path):
    given = ObservedInput("directory", ".", None)
    (tmp_path / "a.sql").write_text("one")
    one = values.value(str(tmp_path), given)
    (tmp_path / "a.sql").write_text("two")
    for name in (".hidden", "a.pyc", "a.sql~"):
        (tmp_path / name).touch()
    for name in (".git", "node_modules", "__pycache__"):
        (tmp_path / name).mkdir()
    assert values.value(str(tmp_path), given) == one
    (tmp_path / "b").mkdir()
    with_directory = values.value(str(tmp_path), given)
    (tmp_path / "b").rmdir()
    (tmp_path / "b").touch()
    assert len({one, with_directory, values.value(str(tmp_path), given)}) == 3


def test_without_a_root_everything_is_absent(values):
    assert values.value(None, ObservedInput("file", "a.sql", None)) == ABSENT
    assert values.value(None, UNSEEN) == ""
