"""Where Liquibase and Java are looked for, and what is said when they are not there."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from sqlrs_engine.errors import LiquibaseUnavailable
from sqlrs_engine.prepare.liquibase import installation


def program(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def home(tmp_path):
    """A Liquibase of two jars."""
    program(tmp_path / "lb" / "liquibase")
    for jar in ("internal/lib/liquibase-core.jar", "internal/lib/picocli.jar", "lib/mine.jar"):
        (tmp_path / "lb" / jar).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "lb" / jar).touch()
    return tmp_path / "lb"


@pytest.fixture
def java(tmp_path):
    return program(tmp_path / "jdk" / "bin" / "java")


@pytest.fixture(autouse=True)
def no_package(monkeypatch):
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: None)


def environment(java, *more):
    return {"PATH": ":".join(str(each.parent) for each in (java, *more))}


def test_the_liquibase_of_the_request_comes_first(home, java, tmp_path):
    other = program(tmp_path / "bin" / "liquibase")
    found = installation.find(str(home / "liquibase"), str(other), environment(java, other))
    assert (found.home, found.java) == (home, java)


def test_the_liquibase_of_the_configuration_comes_before_that_of_the_path(home, java, tmp_path):
    other = program(tmp_path / "bin" / "liquibase")
    found = installation.find(None, str(home), environment(java, other))
    assert found.home == home
    found = installation.find(None, None, environment(java, home / "liquibase"))
    assert found.home == home
    found = installation.find("liquibase", None, environment(java, home / "liquibase"))
    assert found.home == home


def test_the_jars_are_beside_the_target_of_a_link(home, java, tmp_path):
    (tmp_path / "bin").mkdir()
    link = tmp_path / "bin" / "liquibase"
    link.symlink_to(home / "liquibase")
    assert installation.find(None, None, environment(java, link)).home == home


def test_the_python_package_is_found_last(home, java, tmp_path, monkeypatch):
    class Spec:
        submodule_search_locations = (str(tmp_path / "package"),)

    (tmp_path / "package").mkdir()
    home.rename(tmp_path / "package" / "bin")
    monkeypatch.setattr(installation.importlib.util, "find_spec", lambda name: Spec)
    found = installation.find(None, None, environment(java))
    assert found.home == tmp_path / "package" / "bin"


def test_a_session_runs_java_on_all_the_jars(home, java):
    found = installation.find(str(home), None, environment(java))
    command = found.session()
    assert command[0] == str(java)
    classpath = command[command.index("-cp") + 1].split(":")
    assert [Path(jar).name for jar in classpath] == [
        *("session.jar", "mine.jar", "liquibase-core.jar", "picocli.jar")
    ]
    assert found.environment == {"LIQUIBASE_HOME": str(home)}
    assert "session.jar" not in " ".join(found.plain())


def test_a_wrapper_script_is_asked_where_the_jars_are(home, java, tmp_path):
    wrapper = program(tmp_path / "bin" / "liquibase")
    wrapper.write_text(f"#!/bin/sh\necho 'Liquibase Home: {home}'\n")
    assert installation.find(None, None, environment(java, wrapper)).home == home


@pytest.mark.parametrize("said", ["exit 1", "echo 'Liquibase Home: /nowhere'", "echo hello"])
def test_a_wrapper_script_that_does_not_say_where_the_jars_are_is_an_error(java, tmp_path, said):
    wrapper = program(tmp_path / "bin" / "liquibase")
    wrapper.write_text(f"#!/bin/sh\n{said}\n")
    with pytest.raises(LiquibaseUnavailable, match="set LIQUIBASE_HOME"):
        installation.find(None, None, environment(java, wrapper))


def test_liquibase_home_names_the_directory_of_the_jars(home, java, tmp_path):
    wrapper = program(tmp_path / "bin" / "liquibase")
    given = environment(java, wrapper) | {"LIQUIBASE_HOME": str(home)}
    assert installation.find(None, None, given).home == home
    with pytest.raises(LiquibaseUnavailable, match="/nowhere"):
        installation.find(None, None, given | {"LIQUIBASE_HOME": "/nowhere"})


def test_the_identity_of_an_installation_changes_with_its_jars(home, java):
    found = installation.find(str(home), None, environment(java))
    before = found.identity
    assert found.identity == before
    (home / "internal" / "lib" / "liquibase-core.jar").write_text("newer")
    assert found.identity != before


def test_the_java_of_java_home_comes_before_that_of_liquibase(home, java, tmp_path):
    own = program(home / "jre" / "bin" / "java")
    assert installation.find(str(home), None, environment(java)).java == own
    set_to = environment(java) | {"JAVA_HOME": str(java.parent.parent)}
    assert installation.find(str(home), None, set_to).java == java


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "pip install 'sqlrs-engine[liquibase]'"),
        ("/nowhere/liquibase", "/nowhere/liquibase"),
        ("./liquibase", "absolute"),
        ("other-liquibase", "not on the PATH"),
    ],
)
def test_without_liquibase_the_error_says_how_to_install_it(java, given, told):
    with pytest.raises(LiquibaseUnavailable) as missing:
        installation.find(given, None, environment(java))
    assert told in str(missing.value)


def test_without_java_the_error_says_how_to_install_it(home):
    with pytest.raises(LiquibaseUnavailable) as missing:
        installation.find(str(home), None, {"PATH": "/nowhere"})
    assert "apt-get install default-jre-headless" in str(missing.value)
    with pytest.raises(LiquibaseUnavailable) as missing:
        installation.find(str(home), None, {"PATH": "/nowhere", "JAVA_HOME": "/nowhere"})
    assert "JAVA_HOME" in str(missing.value)


def test_the_session_jar_is_built_from_the_source_beside_it():
    """`scripts/session-jar` makes it anew."""
    source = hashlib.sha256()
    for file in sorted((installation.SESSION_JAR.parent / "java" / "sqlrs").glob("*.java")):
        source.update(file.read_bytes())
    with zipfile.ZipFile(installation.SESSION_JAR) as jar:
        manifest = jar.read("META-INF/MANIFEST.MF").decode()
    assert f"Source: {source.hexdigest()}" in manifest
