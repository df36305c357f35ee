"""Sessions with a Liquibase that is a shell script."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.liquibase_fakes import Starter


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    """Start sessions, which end with the test."""
    starter = Starter(tmp_path)
    yield starter
    starter.close()
