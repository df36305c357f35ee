"""The extensions that a distribution brings."""

from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions.extensions import extension_dir, extensions_in


@pytest.mark.parametrize(
    ("bin_dir", "extension"),
    [
        ("home/bin", "home/share/extension"),
        ("usr/local/pgsql/bin", "usr/local/pgsql/share/postgresql/extension"),
        ("usr/bin", "usr/share/pgsql/extension"),
        ("usr/lib/postgresql/15/bin", "usr/share/postgresql/15/extension"),
    ],
)
def test_the_control_files_are_where_the_server_looks_for_them(
    tmp_path: Path, bin_dir: str, extension: str
) -> None:
    (tmp_path / bin_dir).mkdir(parents=True)
    assert extension_dir(tmp_path / bin_dir) is None
    (tmp_path / extension).mkdir(parents=True)
    assert extension_dir(tmp_path / bin_dir) == tmp_path / extension


def test_an_extension_is_a_control_file_without_a_version(tmp_path: Path) -> None:
    for name in ("hstore.control", "uuid-ossp.control", "hstore--1.4.sql", "x--1.2.control"):
        (tmp_path / name).touch()
    assert extensions_in(tmp_path) == ("hstore", "uuid-ossp")
    assert extensions_in(tmp_path / "missing") == ()
    assert extensions_in(None) == ()
