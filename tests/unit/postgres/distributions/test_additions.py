"""Extensions that are added to a distribution whose own build lacks them."""

import io
import logging
import os
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sqlrs_engine.errors import ImageUnavailable
from sqlrs_engine.postgres.distributions import pgcrypto
from sqlrs_engine.postgres.distributions.additions import Additions
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation

ARCHIVE = "pretended_archive"
NONE = "no_such_package"
WORK = JobContext(cancellation=Cancellation(), log=lambda line: None)
TOP = "postgresql-18.6.0-x86_64-unknown-linux-gnu"
MakeArchive = Callable[..., Path]


def distribution(home: Path, **fields: object) -> Distribution:
    found = Distribution(
        image_id="postgres@sha256:" + "0" * 64,
        version="18.6",
        major=18,
        bin_dir=home / "bin",
        origin="wheel",
        extensions=("hstore",),
    )
    return replace(found, **fields)  # type: ignore[arg-type]


@pytest.fixture
def bundled(tmp_path: Path) -> Distribution:
    return distribution(tmp_path / "bundled")


@pytest.fixture
def make_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeArchive:
    """Make the Python package with the archive that has pgcrypto."""

    def make(names: tuple[str, ...] = ("share/extension/{}.control", "lib/{}.so")) -> Path:
        package = tmp_path / "packages" / ARCHIVE
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("raise AssertionError")
        file = package / f"{TOP}.tar.gz"
        with tarfile.open(file, "w:gz") as archive:
            for extension in ("pgcrypto", "xml2"):
                for name in names:
                    info = tarfile.TarInfo(f"{TOP}/{name.format(extension)}")
                    info.size = 1
                    archive.addfile(info, io.BytesIO(b"x"))
        monkeypatch.syspath_prepend(package.parent)
        return file

    return make


def files(directory: Path | None) -> set[str]:
    assert directory is not None
    return {str(each.relative_to(directory)) for each in directory.rglob("*") if each.is_file()}


UUID_OSSP = {"extension/uuid-ossp.control", "extension/uuid-ossp--1.1.sql"}


def test_the_bundled_version_gets_what_it_lacks(
    tmp_path: Path, bundled: Distribution, make_archive: MakeArchive
) -> None:
    make_archive()
    additions = Additions(tmp_path / "added", archive=ARCHIVE)
    planned = additions.planned(bundled, [bundled])
    assert planned.extensions == ("hstore", "pgcrypto", "uuid-ossp")
    assert not (tmp_path / "added").exists()
    assert additions.made(planned) == planned
    assert files(planned.additions) == UUID_OSSP | {
        "extension/pgcrypto.control",
        "lib/pgcrypto.so",
    }
    assert [each.name for each in (tmp_path / "added").iterdir()] == [planned.additions.name]  # type: ignore[union-attr]


def test_all_users_can_read_what_is_added(tmp_path: Path, bundled: Distribution) -> None:
    additions = Additions(tmp_path / "added", archive=NONE)
    made = additions.made(additions.planned(bundled, ())).additions
    assert made is not None
    assert made.stat().st_mode & 0o777 == 0o755
    assert (made / "extension" / "uuid-ossp.control").stat().st_mode & 0o777 == 0o644


def test_another_engine_finds_what_was_made(tmp_path: Path, bundled: Distribution) -> None:
    first, second = (Additions(tmp_path / "added", archive=NONE) for _ in range(2))
    made = first.made(first.planned(bundled, ()))
    assert second.made(second.planned(bundled, ())) == made


def test_a_download_gets_the_extension_of_the_bundled_version(
    tmp_path: Path, bundled: Distribution
) -> None:
    for name in (
        "share/extension/vector.control",
        "share/extension/vector--1.sql",
        "lib/vector.so",
    ):
        file = bundled.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    downloaded = distribution(
        tmp_path / "18.6", origin="installed", extensions=("pgcrypto", "uuid-ossp")
    )
    additions = Additions(tmp_path / "added", archive=NONE)
    made = additions.made(additions.planned(downloaded, [downloaded, bundled]))
    assert made.extensions == ("pgcrypto", "uuid-ossp", "vector")
    assert files(made.additions) == {
        "extension/vector.control",
        "extension/vector--1.sql",
        "lib/vector.so",
    }
    own = additions.planned(replace(bundled, extensions=("vector",)), [bundled])
    assert own.extensions == ("uuid-ossp", "vector")


@pytest.mark.parametrize(
    "fields",
    [
        {"major": 17, "version": "17.11"},
        {"origin": "system"},
        {"origin": "image"},
        {"extensions": ("pgcrypto", "uuid-ossp")},
    ],
    ids=str,
)
def test_others_are_left_as_they_are(
    tmp_path: Path, bundled: Distribution, fields: dict[str, object]
) -> None:
    other = replace(bundled, **fields)  # type: ignore[arg-type]
    additions = Additions(tmp_path / "added", archive=NONE)
    assert additions.planned(other, [bundled]) == other
    assert additions.made(other) == other


def test_nothing_is_added_in_a_path_that_the_server_would_split(
    tmp_path: Path, bundled: Distribution
) -> None:
    assert Additions(tmp_path / "a:b", archive=NONE).planned(bundled, ()) == bundled


@pytest.mark.parametrize("place", [".", "added", "added/fetched"])
def test_nothing_is_added_where_others_could_change_it(
    tmp_path: Path, bundled: Distribution, place: str
) -> None:
    (tmp_path / "added").joinpath("fetched").mkdir(parents=True)
    (tmp_path / place).chmod(0o777)
    assert Additions(tmp_path / "added", archive=NONE).planned(bundled, ()) == bundled


def test_what_was_removed_is_made_again(tmp_path: Path, bundled: Distribution) -> None:
    additions = Additions(tmp_path / "added", archive=NONE)
    planned = additions.planned(bundled, ())
    for _ in range(2):
        made = additions.made(planned)
        assert files(made.additions) == UUID_OSSP
        shutil.rmtree(tmp_path / "added")


def test_an_extension_that_lacks_a_library_is_left_out(
    tmp_path: Path,
    bundled: Distribution,
    make_archive: MakeArchive,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    make_archive()
    monkeypatch.setattr(pgcrypto, "missing_libraries", lambda files: ["libcrypto.so.3"])
    additions = Additions(tmp_path / "added", archive=ARCHIVE)
    made = additions.made(additions.planned(bundled, ()))
    assert made.extensions == ("hstore", "uuid-ossp")
    assert files(made.additions) == UUID_OSSP
    assert "pgcrypto: it needs libcrypto.so.3" in caplog.text
    assert "apt-get install libssl3" in caplog.text


def test_a_damaged_archive_is_left_out(
    tmp_path: Path,
    bundled: Distribution,
    make_archive: MakeArchive,
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = make_archive()
    file.write_bytes(file.read_bytes()[:40])
    additions = Additions(tmp_path / "added", archive=ARCHIVE)
    planned = additions.planned(bundled, ())
    assert additions.made(planned).extensions == ("hstore", "uuid-ossp")
    assert additions.made(planned).extensions == ("hstore", "uuid-ossp")
    assert caplog.text.count("cannot add the extension pgcrypto") == 1


def test_an_archive_without_the_library_is_left_out(
    tmp_path: Path, bundled: Distribution, make_archive: MakeArchive
) -> None:
    make_archive(names=("share/extension/{}.control",))
    additions = Additions(tmp_path / "added", archive=ARCHIVE)
    assert "pgcrypto" not in additions.made(additions.planned(bundled, ())).extensions


def test_without_a_place_to_write_nothing_is_added(
    tmp_path: Path, bundled: Distribution, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    additions = Additions(tmp_path / "file" / "added", archive=NONE)
    with caplog.at_level(logging.WARNING):
        made = additions.made(additions.planned(bundled, ()))
        assert (made.additions, made.extensions) == (None, bundled.extensions)
    assert "cannot add extensions to PostgreSQL 18" in caplog.text


# What is downloaded when a step needs it


def test_the_place_of_a_download_is_known_and_can_be_entered_before_it(
    tmp_path: Path, bundled: Distribution
) -> None:
    additions = Additions(tmp_path / "added", archive=NONE)
    previous = os.umask(0o077)
    try:
        made = additions.made(additions.planned(bundled, ()))
    finally:
        os.umask(previous)
    assert made.fetched == additions.fetched_root / "18.6"
    assert not made.fetched.exists()
    assert additions.fetched_root.stat().st_mode & 0o777 == 0o755
    assert "pgcrypto" not in made.extensions


def test_what_was_downloaded_is_one_of_the_extensions(
    tmp_path: Path, bundled: Distribution
) -> None:
    additions = Additions(tmp_path / "added", archive=NONE)
    control = additions.fetched_root / "18.6" / "extension" / "pgcrypto.control"
    control.parent.mkdir(parents=True)
    control.touch()
    made = additions.made(additions.planned(bundled, ()))
    assert made.extensions == ("hstore", "pgcrypto", "uuid-ossp")
    assert made.fetched == additions.fetched_root / "18.6"
    other = additions.planned(replace(bundled, version="18.7"), ())
    assert "pgcrypto" not in other.extensions


def test_nothing_is_downloaded_where_the_package_is_installed(
    tmp_path: Path, bundled: Distribution, make_archive: MakeArchive
) -> None:
    make_archive()
    additions = Additions(tmp_path / "added", archive=ARCHIVE, pip=("/nonexistent/pip",))
    made = additions.made(additions.planned(bundled, ()))
    assert made.fetched is None
    assert not additions.fetch("pgcrypto", made, WORK)


@pytest.mark.parametrize(
    ("extension", "fields"),
    [
        ("postgis", {}),
        ("pgcrypto", {"origin": "system"}),
        ("pgcrypto", {"origin": "installed"}),
        ("pgcrypto", {"major": 17, "version": "17.11"}),
    ],
    ids=str,
)
def test_other_extensions_and_those_of_others_are_not_downloaded(
    tmp_path: Path, bundled: Distribution, extension: str, fields: dict[str, object]
) -> None:
    additions = Additions(tmp_path / "added", archive=NONE, pip=("/nonexistent/pip",))
    planned = additions.planned(replace(bundled, **fields), ())  # type: ignore[arg-type]
    assert not additions.fetch(extension, planned, WORK)


def test_nothing_is_downloaded_if_that_is_not_allowed(
    tmp_path: Path, bundled: Distribution
) -> None:
    additions = Additions(tmp_path / "added", archive=NONE, pip=("/nonexistent/pip",))
    planned = additions.planned(bundled, ())
    with pytest.raises(ImageUnavailable, match=r"images\.pull is never"):
        additions.fetch("pgcrypto", planned, WORK, allowed=lambda: False)
    assert planned.fetched is not None
    planned.fetched.mkdir(parents=True)
    assert additions.fetch("pgcrypto", planned, WORK, allowed=lambda: False)
