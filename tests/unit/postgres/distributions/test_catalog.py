"""Which set of programs an image means."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.image_fakes import FakeImages

from sqlrs_engine.errors import ImageUnavailable, InvalidArgument, RegistryUnavailable
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.postgres.distributions.distribution import image_id
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.processes.cancellation import Cancellation

FakePrograms = Callable[..., Path]
Machine = Callable[..., Distributions]


@pytest.fixture
def machine(
    tmp_path: Path, fake_programs: FakePrograms, monkeypatch: pytest.MonkeyPatch
) -> Machine:
    """Make a machine with PostgreSQL of the given versions."""

    def make(
        *,
        system: tuple[str, ...] = (),
        installed: tuple[str, ...] = (),
        wheel: str | None = None,
        images: FakeImages | None = None,
    ) -> Distributions:
        root = tmp_path / "root"
        for version in system:
            fake_programs(root / "usr/lib/postgresql" / version / "bin", version)
        for version in installed:
            fake_programs(tmp_path / "store" / version / "bin", version)
        if wheel:
            package = tmp_path / "packages" / "pretended_wheel"
            fake_programs(package / "pginstall" / "bin", wheel)
            (package / "__init__.py").touch()
            monkeypatch.syspath_prepend(package.parent)
        return Distributions(
            tmp_path / "store",
            system_root=root,
            package="pretended_wheel",
            archive="none",
            images=images,
        )

    return make


def resolved(distributions: Distributions, image: str) -> tuple[str, str]:
    found = distributions.resolve(image)
    return found.version, found.origin


def test_the_newest_comes_first_and_betas_last(machine: Machine) -> None:
    distributions = machine(system=("15.9", "15.10", "19beta2", "17.2"), wheel="18.1")
    versions = [each.version for each in distributions.available()]
    assert versions == ["18.1", "17.2", "15.10", "15.9", "19beta2"]
    assert resolved(distributions, "postgres") == ("18.1", "wheel")
    assert resolved(distributions, "postgres:15") == ("15.10", "system")
    assert resolved(distributions, "postgres:15.9-alpine") == ("15.9", "system")
    assert resolved(distributions, "docker.io/library/postgres:19beta2") == ("19beta2", "system")
    assert resolved(distributions, "postgres:19") == ("19beta2", "system")


def test_a_downloaded_extension_is_found_at_once(machine: Machine, tmp_path: Path) -> None:
    distributions = machine(wheel="18.1")
    before = distributions.resolve("postgres:18")
    assert before.fetched is not None
    control = before.fetched / "extension" / "pgcrypto.control"
    assert not distributions.images_with("pgcrypto")
    (tmp_path / "made" / "extension").mkdir(parents=True)
    (tmp_path / "made" / "extension" / control.name).touch()
    (tmp_path / "made").rename(before.fetched)
    assert [name for name, _ in distributions.images_with("pgcrypto")] == ["postgres:18.1"]


def test_of_one_version_the_installed_distribution_comes_first_then_the_one_with_most_extensions(
    machine: Machine,
) -> None:
    distributions = machine(system=("17.2", "18.1"), installed=("17.2",), wheel="18.1")
    origins = [(each.version, each.origin) for each in distributions.available()]
    assert origins == [
        ("18.1", "system"),
        ("18.1", "wheel"),
        ("17.2", "installed"),
        ("17.2", "system"),
    ]


def test_a_distribution_installed_meanwhile_is_seen_at_once(
    machine: Machine, tmp_path: Path, fake_programs: FakePrograms
) -> None:
    distributions = machine(system=("15.9",))
    with pytest.raises(ImageUnavailable):
        distributions.resolve("postgres:17")
    fake_programs(tmp_path / "store" / "17.2" / "bin", "17.2")
    assert resolved(distributions, "postgres:17") == ("17.2", "installed")


def test_a_distribution_upgraded_or_removed_is_seen_at_once(
    machine: Machine, tmp_path: Path, fake_programs: FakePrograms
) -> None:
    distributions = machine(system=("17",), installed=("15.9",))
    assert resolved(distributions, "postgres:17")[0] == "17"
    bin_dir = tmp_path / "root/usr/lib/postgresql/17/bin"
    fake_programs(bin_dir, "17.3")  # the package manager puts it in its place
    assert resolved(distributions, "postgres:17")[0] == "17.3"
    (bin_dir / "postgres").unlink()
    with pytest.raises(ImageUnavailable):
        distributions.resolve("postgres:17")
    (tmp_path / "store" / "15.9" / "bin" / "initdb").chmod(0)
    (tmp_path / "root/usr/lib/postgresql/16/lib").mkdir(parents=True)
    fake_programs(tmp_path / "root/usr/lib/postgresql/16/bin", "16.1")
    assert resolved(distributions, "postgres:16")[0] == "16.1"


def test_an_image_id_finds_exactly_that_build(machine: Machine) -> None:
    distributions = machine(system=("15.9", "15.10"))
    for each in distributions.available():
        assert each.image_id.startswith("postgres@sha256:")
        assert distributions.get(each.image_id) == each
        tagged = each.image_id.replace("@", ":17@")  # the digest wins
        assert distributions.resolve(tagged) == each


def test_an_image_id_depends_on_version_and_build() -> None:
    banner = "postgres (PostgreSQL) 17.2"
    ids = {
        image_id(banner, "a"),
        image_id(banner, "b"),
        image_id(banner.replace("17.2", "17.3"), "a"),
    }
    assert len(ids) == 3
    assert image_id(banner, "a") in ids


@pytest.mark.parametrize(
    ("image", "advice"),
    [
        ("postgres:17", "available: 18.1, 15.9; to install it: sqlrs-engine postgres install 17"),
        ("postgres:17.2", "to install it: sqlrs-engine postgres install 17"),
        ("postgres:14", "to install it: sqlrs-engine postgres install 14"),
        ("postgres:15.2", "available: 18.1, 15.9; use postgres:15 for any minor version"),
        ("postgres:99", "the newest version to install is PostgreSQL 18"),
        ("postgres:13", "the oldest supported version is PostgreSQL 14"),
        ("postgres:9.6", "the oldest supported version is PostgreSQL 14"),
        ("postgres:stable", "use a version as tag, such as postgres:17"),
        ("postgres@sha256:" + "0" * 64, "available: 18.1, 15.9; no PostgreSQL here has this dig"),
    ],
)
def test_a_missing_version_is_an_error_with_advice(
    machine: Machine, image: str, advice: str
) -> None:
    distributions = machine(system=("15.9",), wheel="18.1")
    with pytest.raises(ImageUnavailable) as failure:
        distributions.resolve(image)
    assert failure.value.message == f"no PostgreSQL for {image}"
    assert advice in (failure.value.details or "")


def test_advice_names_a_version_once_however_many_builds_of_it_there_are(machine: Machine) -> None:
    distributions = machine(installed=("18.1",), wheel="18.1")
    with pytest.raises(ImageUnavailable, match=r"available: 18\.1; use postgres:18 for any"):
        distributions.resolve("postgres:18.5")


def test_a_machine_without_distributions_says_how_to_install_one(machine: Machine) -> None:
    with pytest.raises(ImageUnavailable, match="available: nothing; to install it: sqlrs"):
        machine().resolve("postgres")


# Images of registries


def work() -> JobContext:
    return JobContext(Cancellation(), lambda line: None)


@pytest.mark.parametrize(
    "image", ["postgis/postgis:17-3.5", "quay.io/x/postgres:15", "localhost:5000/postgres:15"]
)
def test_only_images_of_registries_answer_what_is_not_the_official_image(
    machine: Machine, image: str
) -> None:
    images = FakeImages()
    distributions = machine(system=("15.9", "17.2"), images=images)
    with pytest.raises(ImageUnavailable, match=f"no PostgreSQL for {image}: it is nowhere"):
        distributions.resolve(image, work())
    images.registry[image] = "17.5"
    found = distributions.resolve(image, work())
    assert (found.version, found.origin) == ("17.5", "image")
    assert found.image_id in {each.image_id for each in distributions.available()}
    assert distributions.get(found.image_id) == distributions.resolve(found.image_id) == found


def test_what_is_installed_answers_the_official_image_before_any_pulled_image(
    machine: Machine,
) -> None:
    images = FakeImages()
    images.add("postgis/postgis:17-3.5", "17.9")
    images.add("postgres:16", "16.9")
    distributions = machine(system=("17.2",), images=images)
    for image in ("postgres", "postgres:17", "docker.io/library/postgres:17-bookworm"):
        assert resolved(distributions, image) == ("17.2", "system")
    assert images.asked == []
    assert resolved(distributions, "postgres:16") == ("16.9", "image")


def test_an_official_image_of_a_major_that_is_not_installed_is_pulled(machine: Machine) -> None:
    images = FakeImages()
    images.registry["postgres:17-bookworm"] = "17.2"
    distributions = machine(system=("15.9",), images=images)
    assert distributions.resolve("postgres:17-bookworm", work()).version == "17.2"


def test_nothing_is_pulled_without_work_that_needs_it(machine: Machine) -> None:
    images = FakeImages()
    images.registry["postgis/postgis:17-3.5"] = "17.2"
    with pytest.raises(ImageUnavailable):
        machine(images=images).resolve("postgis/postgis:17-3.5")
    assert images.asked == [("postgis/postgis:17-3.5", False)]


def test_an_official_image_too_old_to_run_is_not_pulled(machine: Machine) -> None:
    images = FakeImages()
    with pytest.raises(ImageUnavailable, match="the oldest supported version is PostgreSQL 14"):
        machine(images=images).resolve("postgres:9.6", work())
    assert images.asked == []


def test_an_official_image_that_cannot_be_pulled_can_be_installed(machine: Machine) -> None:
    images = FakeImages()
    images.fail = RegistryUnavailable("docker.io does not answer", "connection refused")
    with pytest.raises(RegistryUnavailable, match=r"docker\.io does not answer") as failure:
        machine(wheel="18.1", images=images).resolve("postgres:17", work())
    assert failure.value.details == (
        "connection refused; available: 18.1; to install it: sqlrs-engine postgres install 17"
    )


def test_an_image_that_is_gone_is_not_pulled_by_its_id(machine: Machine) -> None:
    images = FakeImages()
    gone = "postgres@sha256:" + "1" * 64
    distributions = machine(wheel="18.1", images=images)
    with pytest.raises(ImageUnavailable, match="no PostgreSQL here has this digest"):
        distributions.get(gone)
    images.known[gone] = "sqlrs-engine postgres pull postgis/postgis:17-3.5"
    for ask in (distributions.get, lambda image: distributions.resolve(image, work())):
        with pytest.raises(ImageUnavailable, match=r"postgres pull postgis/postgis:17-3\.5"):
            ask(gone)
    assert images.asked == []


def test_an_empty_image_is_an_error(machine: Machine) -> None:
    with pytest.raises(InvalidArgument):
        machine().resolve("Postgres!")


def test_a_distribution_older_than_the_oldest_major_is_ignored(machine: Machine) -> None:
    assert machine(system=("9.6", "13.20")).available() == []


def test_an_incomplete_distribution_is_ignored(machine: Machine, tmp_path: Path) -> None:
    distributions = machine(system=("15.9",))
    (tmp_path / "root/usr/lib/postgresql/15.9/bin/initdb").unlink()
    assert distributions.available() == []


def test_a_distribution_found_twice_counts_once(
    machine: Machine, tmp_path: Path, fake_programs: FakePrograms
) -> None:
    machine(system=("15.9",))
    real = tmp_path / "root/usr/lib/postgresql/15.9/bin"
    (tmp_path / "link").symlink_to(real)
    distributions = Distributions(
        tmp_path / "store",
        search=[tmp_path / "link", real],
        system_root=tmp_path / "root",
        package="no_such_package_at_all",
    )
    assert [each.bin_dir for each in distributions.available()] == [real]


def test_a_dangling_link_to_a_distribution_is_ignored(machine: Machine, tmp_path: Path) -> None:
    distributions = machine(system=("15.9",))
    program = tmp_path / "root/usr/lib/postgresql/15.9/bin/postgres"
    program.unlink()
    program.symlink_to(program)
    assert distributions.available() == []


def test_a_broken_distribution_is_ignored_and_logged_once(
    machine: Machine,
    tmp_path: Path,
    fake_programs: FakePrograms,
    caplog: pytest.LogCaptureFixture,
) -> None:
    distributions = machine(system=("15.9",))
    broken = tmp_path / "root/usr/lib/postgresql/17/bin"
    fake_programs(broken, "17.2", script="echo 'libssl.so.3: cannot open' >&2; exit 127")
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert [each.version for each in distributions.available()] == ["15.9"]
    assert len(caplog.records) == 1
    assert str(broken) in caplog.text
    assert "libssl.so.3: cannot open" in caplog.text
    fake_programs(broken, "17.2")  # its library was installed
    assert resolved(distributions, "postgres:17") == ("17.2", "system")


def test_the_root_of_a_distribution(machine: Machine, tmp_path: Path) -> None:
    (found,) = machine(installed=("15.9",)).available()
    assert found.root == tmp_path / "store" / "15.9"


@pytest.mark.parametrize("place", ["store", "store/17.2/bin"])
def test_downloads_that_others_can_change_are_not_run(
    machine: Machine, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    found = machine(installed=("17.2",), wheel="18.1")
    (tmp_path / place).chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert [each.version for each in found.available()] == ["18.1"]
    assert "others can change it" in caplog.text


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_runs_no_downloads_of_another_user(machine: Machine, tmp_path: Path) -> None:
    found = machine(installed=("17.2",), wheel="18.1")
    os.chown(tmp_path / "store", 65534, 65534)
    assert [each.version for each in found.available()] == ["18.1"]


def test_an_extension_installed_meanwhile_is_seen_at_once(machine: Machine, tmp_path: Path) -> None:
    directory = tmp_path / "root/usr/share/postgresql/15.9/extension"
    directory.mkdir(parents=True)
    distributions = machine(system=("15.9",))
    assert distributions.resolve("postgres:15").extensions == ()
    (directory / "postgis.control").touch()
    os.utime(directory, ns=(1, 1))  # another time, however coarse the file system's clock is
    assert distributions.resolve("postgres:15").extensions == ("postgis",)


def test_an_image_gets_client_programs_of_its_version_or_the_next(machine: Machine) -> None:
    images = FakeImages()
    for version in ("14.9", "16.3", "17.1", "19.0"):
        images.add(f"example/pg:{version}", version)
    distributions = machine(system=("15.9", "17.2"), wheel="18.1", images=images)
    for version, major in (("14.9", "15.9"), ("16.3", "17.2"), ("17.1", "17.2"), ("19.0", None)):
        image = distributions.resolve(f"example/pg:{version}")
        nearest = major and distributions.resolve(f"postgres:{major}").bin_dir
        assert image.clients == nearest
        assert distributions.get(image.image_id) == image
