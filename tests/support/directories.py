"""Deleting what engines leave: the directories of states are read-only."""

import os
import shutil
from pathlib import Path


def make_writable(directory: Path) -> None:
    """Let the owner of a directory change everything in it."""
    for place, _, _ in os.walk(directory):
        Path(place).chmod(0o700)


def remove_tree(directory: Path) -> None:
    """Delete a directory and everything in it."""
    make_writable(directory)
    shutil.rmtree(directory)
