"""Project files in a directory of the test's own."""

from collections.abc import Callable
from pathlib import Path

import pytest

Written = Callable[..., Path]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    """Return a function that writes a project file and returns its path."""

    def write(text: str, directory: str = "shop") -> Path:
        path = tmp_path / directory / "sqlrs.toml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    return write
