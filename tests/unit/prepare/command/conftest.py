"""Directories with the files of an application."""

import pytest

from sqlrs_engine.prepare import file_reads
from sqlrs_engine.prepare.command import inputs as input_files


class App:
    """A directory with files, named by their paths from it."""

    def __init__(self, root):
        self.root = root
        root.mkdir()

    def write(self, *paths, text="x"):
        for path in paths:
            place = self.root / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text(text)

    def link(self, path, target):
        place = self.root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)


@pytest.fixture
def app(tmp_path):
    return App(tmp_path / "app")


@pytest.fixture
def settled(monkeypatch):
    """Let files count as settled as soon as they are written."""
    monkeypatch.setattr(file_reads, "SETTLED_NS", -(10**18))
    monkeypatch.setattr(input_files, "SETTLED_NS", -(10**18))
