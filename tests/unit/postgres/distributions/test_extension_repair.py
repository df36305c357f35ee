"""Downloaded extensions that cannot be created."""

from collections.abc import Collection, Mapping
from pathlib import Path

import pytest

from sqlrs_engine.postgres.distributions import extension_repair as module
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.postgres.distributions.extension_repair import hidden, repair, was_checked
from sqlrs_engine.postgres.distributions.extensions import extension_dir, extensions_in

ERROR = "could not load library"


@pytest.fixture
def download(tmp_path: Path) -> Distribution:
    home = tmp_path / "16.15"
    for name in ("bin", "lib", "share/extension"):
        (home / name).mkdir(parents=True)
    for name in ("hstore", "uuid-ossp", "plpython3u"):
        module = "plpython3" if name == "plpython3u" else name
        (home / f"share/extension/{name}.control").write_text(
            f"default_version = '1.1'\nmodule_pathname = '$libdir/{module}'\n"
        )
        (home / f"share/extension/{name}--1.1.sql").write_text("AS 'MODULE_PATHNAME'")
        (home / f"lib/{module}.so").write_bytes(b"\x7fELF\0/opt/postgresql/lib\0end")
    return Distribution(
        image_id="postgres@sha256:" + "0" * 64, version="16.15", major=16, bin_dir=home / "bin"
    )


@pytest.fixture
def missing(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The libraries that modules lack, by the module's name."""
    lacking: dict[str, list[str]] = {}
    monkeypatch.setattr(
        module,
        "missing_libraries",
        lambda files: [e for f in files for e in lacking.get(f.stem, [])],
    )
    return lacking


class Checks:
    """Fails the extensions of the given names, as long as they are in C."""

    def __init__(self, home: Path, *failing: str) -> None:
        self.home = home
        self.failing = set(failing)
        self.calls: list[list[str]] = []

    def __call__(self, found: Distribution, names: Collection[str]) -> Mapping[str, str]:
        self.calls.append(sorted(names))
        return {name: ERROR for name in names if name in self.failing and self._in_c(name)}

    def _in_c(self, name: str) -> bool:
        return "module_pathname" in (self.home / f"share/extension/{name}.control").read_text()


def available(found: Distribution) -> tuple[str, ...]:
    return extensions_in(extension_dir(found.bin_dir))


def no_packages(library: str, directory: Path, tell: object) -> bool:
    return False


def test_a_download_whose_extensions_all_work_is_checked_once(
    download: Distribution, missing: dict[str, list[str]]
) -> None:
    assert not was_checked(download.root)
    checks = Checks(download.root)
    repair(download, checks, print, fetch=no_packages)
    assert checks.calls == [["hstore", "plpython3u", "uuid-ossp"]]
    assert available(download) == ("hstore", "plpython3u", "uuid-ossp")
    assert was_checked(download.root)


def test_an_extension_that_does_not_work_is_hidden_with_the_reason(
    download: Distribution, missing: dict[str, list[str]]
) -> None:
    missing["plpython3"] = ["libpython3.11.so.1.0"]
    told: list[str] = []
    repair(download, Checks(download.root, "plpython3u"), told.append, fetch=no_packages)
    assert available(download) == ("hstore", "uuid-ossp")
    reason = (
        "it needs libpython3.11.so.1.0 (on Debian or Ubuntu: apt-get install libpython3.11, "
        "then install again)"
    )
    assert hidden(download.root) == {"plpython3u": reason}
    assert told[-1] == f"note: the extension plpython3u is not available: {reason}"
    assert not was_checked(download.root)


def test_an_extension_without_a_known_cause_is_hidden_with_the_error(
    download: Distribution, missing: dict[str, list[str]]
) -> None:
    repair(download, Checks(download.root, "hstore"), print, fetch=no_packages)
    assert hidden(download.root) == {"hstore": ERROR}


def test_a_hidden_extension_comes_back_when_it_works(
    download: Distribution, missing: dict[str, list[str]]
) -> None:
    repair(download, Checks(download.root, "hstore"), print, fetch=no_packages)
    repair(download, Checks(download.root), print, fetch=no_packages)
    assert available(download) == ("hstore", "plpython3u", "uuid-ossp")
    assert (download.root / "share/extension/hstore--1.1.sql").exists()
    assert was_checked(download.root)


def test_a_missing_library_is_fetched_into_the_download(
    download: Distribution, missing: dict[str, list[str]]
) -> None:
    missing["uuid-ossp"] = ["libossp-uuid.so.16"]
    checks = Checks(download.root, "uuid-ossp")
    fetched: list[tuple[str, Path]] = []

    def fetch(library: str, directory: Path, tell: object) -> bool:
        fetched.append((library, directory))
        checks.failing.clear()
        return True

    repair(download, checks, print, fetch=fetch)
    assert fetched == [("libossp-uuid.so.16", download.root / "lib")]
    assert checks.calls[1:] == [["uuid-ossp"]]
    assert available(download) == ("hstore", "plpython3u", "uuid-ossp")
    assert was_checked(download.root)


def test_uuid_ossp_without_its_library_is_replaced_by_the_one_in_sql(
    download: Distribution, missing: dict[str, list[str]]
) -> None:
    told: list[str] = []
    repair(download, Checks(download.root, "uuid-ossp"), told.append, fetch=no_packages)
    assert available(download) == ("hstore", "plpython3u", "uuid-ossp")
    assert told[-1] == f"uuid-ossp is written in SQL, because {ERROR}"
    # The one with the library comes back when that is there.
    repair(download, Checks(download.root), print, fetch=no_packages)
    control = download.root / "share/extension/uuid-ossp.control"
    assert "module_pathname" in control.read_text()


def test_libraries_look_for_others_in_their_own_directory_first(
    download: Distribution, missing: dict[str, list[str]]
) -> None:
    other = download.root / "lib/other.so"
    other.write_bytes(b"unchanged")
    repair(download, Checks(download.root), print, fetch=no_packages)
    content = (download.root / "lib/hstore.so").read_bytes()
    assert content == b"\x7fELF\0$ORIGIN" + b"\0" * 13 + b"end"
    assert other.read_bytes() == b"unchanged"
