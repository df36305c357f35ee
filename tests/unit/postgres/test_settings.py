"""What clusters are initialised and started with."""

import pytest

from sqlrs_engine.postgres.settings import (
    HBA,
    configuration,
    has_builtin_locale,
    initdb_arguments,
    locales,
    start_arguments,
    text_of,
)


def options(arguments: list[str]) -> dict[str, str]:
    """Return what ``-c`` options come to: PostgreSQL takes the last of each name."""
    assert arguments[::2] == ["-c"] * (len(arguments) // 2)
    pairs = (each.split("=", 1) for each in arguments[1::2])
    return {name.lower().replace("-", "_"): value for name, value in pairs}


@pytest.mark.parametrize("major", [14, 15, 16])
def test_the_c_library_has_the_locale_of_older_majors(major: int) -> None:
    assert locales(major) == ("C.UTF-8", "C")
    assert not has_builtin_locale(major)


@pytest.mark.parametrize("major", [14, 15, 18])
def test_a_locale_of_the_c_library_is_taken_from_it_and_messages_stay_english(major: int) -> None:
    arguments = initdb_arguments(major, "de_DE.utf8", builtin=False)
    assert {"--locale=de_DE.utf8", "--lc-messages=C"} <= {*arguments}
    assert ("--locale-provider=libc" in arguments) is (major >= 15)
    assert "--builtin-locale=C.UTF-8" not in arguments


@pytest.mark.parametrize("major", [17, 18])
def test_newer_majors_have_a_locale_of_their_own(major: int) -> None:
    (locale,) = locales(major)
    assert has_builtin_locale(major)
    arguments = initdb_arguments(major, locale, builtin=True)
    assert {"--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C"} <= {*arguments}


def test_data_checksums_are_off_since_18_where_they_would_be_on() -> None:
    assert "--no-data-checksums" in initdb_arguments(18, "C", builtin=True)
    assert "--no-data-checksums" not in initdb_arguments(17, "C", builtin=True)


@pytest.mark.parametrize("major", [14, 18])
def test_every_cluster_has_the_same_superuser_and_small_segments(major: int) -> None:
    assert {
        "--username=postgres",
        "--encoding=UTF8",
        "--auth-host=scram-sha-256",
        "--wal-segsize=1",
        "--no-sync",
    } <= {*initdb_arguments(major, "C", builtin=False)}


def test_tcp_is_never_trusted() -> None:
    lines = [line.split() for line in HBA.splitlines() if not line.startswith("#")]
    assert [line[-1] for line in lines if line[0] != "local"] == ["scram-sha-256"] * 2
    assert {line[0] for line in lines} == {"local", "host"}


def test_the_configuration_is_quoted_lines() -> None:
    lines = configuration(15).strip().splitlines()
    assert "fsync = 'off'" in lines
    assert "shared_buffers = '16MB'" in lines
    assert not any("io_method" in line for line in lines)
    assert "io_method = 'sync'" in configuration(18)


def test_with_tcp_off_nothing_is_listened_on() -> None:
    assert options(start_arguments(5432, tcp=False, settings={}))["listen_addresses"] == ""
    assert options(start_arguments(7, tcp=True, settings={}))["listen_addresses"] == "127.0.0.1"


@pytest.mark.parametrize(
    "settings",
    [
        {"port": 1, "listen_addresses": "*", "unix_socket_permissions": "0777"},
        {"PORT": 1, "Listen_Addresses": "*", "UNIX_socket_permissions": "0777"},
        {"port": 2, "PORT": 1, "listen_addresses": "::", "listen-addresses": "*"},
    ],
)
def test_no_setting_changes_where_a_server_is_found(settings: dict[str, str | int]) -> None:
    effective = options(start_arguments(7000, tcp=True, settings=settings))
    assert effective["port"] == "7000"
    assert effective["listen_addresses"] == "127.0.0.1"
    assert effective["unix_socket_directories"] == "."
    assert effective["unix_socket_permissions"] == "0700"


def test_settings_of_a_start_become_arguments() -> None:
    settings = {"work_mem": "64MB", "jit": True, "fsync": False, "seq_page_cost": 1.5, "n": 3}
    effective = options(start_arguments(7000, tcp=True, settings=settings))
    expected = {"work_mem": "64MB", "jit": "on", "fsync": "off", "seq_page_cost": "1.5", "n": "3"}
    assert expected.items() <= effective.items()
    assert text_of("it's = x") == "it's = x"
