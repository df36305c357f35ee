"""The program of a command: where it is found, and what identifies it."""

import shutil
from pathlib import Path

import pytest

from sqlrs_engine.errors import ProgramUnavailable, StepFailed
from sqlrs_engine.prepare.command.environment import Environment
from sqlrs_engine.prepare.command.program import Programs
from sqlrs_engine.prepare.command.version import Versions
from sqlrs_engine.processes.cancellation import Cancellation


@pytest.fixture
def script(app):
    def write(path, text="#!/bin/sh\n", mode=0o755):
        app.write(path, text=text)
        (app.root / path).chmod(mode)
        return app.root / path

    return write


def found(app, name, path="/nowhere"):
    return Programs().find(name, path, app.root)


def test_programs_are_found_on_the_path(app, script):
    first = script("one/tool")
    script("two/tool")
    assert found(app, "tool", f"{app.root}/none:{app.root}/one:{app.root}/two").path == first


def test_relative_directories_of_the_path_start_from_work_dir(app, script):
    tool = script("node_modules/.bin/tool")
    assert found(app, "tool", "node_modules/.bin").path == tool
    script("tool")
    assert found(app, "tool", ":/nowhere").path == app.root / "tool"


def test_names_with_a_slash_start_from_work_dir(app, script):
    tool = script("bin/tool")
    assert found(app, "bin/tool").path == tool
    assert found(app, "./bin/tool").path == tool
    assert found(app, str(tool)).path == tool


@pytest.mark.parametrize("name", ["nope", "./nope", "/nope", "bin", "x" * 5000])
def test_a_missing_program_is_an_error_with_advice(app, name):
    (app.root / "bin").mkdir()
    with pytest.raises(ProgramUnavailable, match="not on this machine") as error:
        found(app, name, f"{app.root}")
    assert name in error.value.details


def test_a_file_that_is_not_executable_is_named(app, script):
    script("tool", mode=0o644)
    with pytest.raises(ProgramUnavailable, match=r"chmod \+x"):
        found(app, "./tool")


def test_one_that_is_not_executable_does_not_hide_another(app, script):
    script("one/tool", mode=0o644)
    tool = script("two/tool")
    assert found(app, "tool", "one:two").path == tool


class TestDigest:
    def test_the_content_counts(self, app, script):
        script("tool", "#!/bin/sh\n")
        before = found(app, "./tool").digest
        script("tool", "#!/bin/sh\necho\n")
        assert found(app, "./tool").digest != before

    def test_the_place_of_a_virtual_environment_does_not_count(self, app, script, tmp_path):
        script(".venv/bin/tool", f"#!{app.root}/.venv/bin/python\nrun()\n")
        moved = tmp_path / "moved"
        shutil.copytree(app.root, moved)
        other = moved / ".venv/bin/tool"
        other.write_text(f"#!{moved}/.venv/bin/python\nrun()\n")
        here = found(app, ".venv/bin/tool").digest
        assert Programs().find(".venv/bin/tool", "", moved).digest == here
        other.write_text(f"#!{moved}/.venv/bin/python3.12\nrun()\n")
        assert Programs().find(".venv/bin/tool", "", moved).digest != here

    def test_programs_that_are_no_scripts_count_as_they_are(self, app, script):
        shutil.copy("/bin/sh", app.root / "one")
        shutil.copy("/bin/sh", app.root / "two")
        assert found(app, "./one").digest == found(app, "./two").digest


class TestVersion:
    @pytest.fixture
    def versions(self):
        return Versions()

    @pytest.fixture
    def version(self, app, versions):
        environment = Environment.of({"A": "a"}, {"PATH": "/usr/bin:/bin"})

        def ask(*argv, program=Path("/bin/sh")):
            return versions.of(argv, app.root, environment, program, Cancellation())

        return ask

    def test_what_it_prints_is_the_version(self, version, script):
        script("v", "#!/bin/sh\necho tool $A; echo 'with pg' 3; echo warning >&2\n")
        assert version("./v") == "tool a\nwith pg 3"

    def test_it_runs_once_while_the_programs_are_the_same(self, version, script, app):
        tool = script("tool")
        script("v", "#!/bin/sh\necho run >> runs; echo 1\n")
        runs = app.root / "runs"
        assert version("./v", program=tool) == version("./v", program=tool) == "1"
        assert runs.read_text() == "run\n"
        script("tool", "#!/bin/sh\nnew\n")
        version("./v", program=tool)
        assert runs.read_text() == "run\nrun\n"
        script("v", "#!/bin/sh\necho run >> runs; echo 2\n")
        assert version("./v", program=tool) == "2"

    def test_all_of_a_long_output_counts(self, version, script):
        text = "#!/bin/sh\nfor n in $(seq 5000); do echo package $n; done\necho last {}\n"
        script("v", text.format(1))
        one = version("./v")
        script("v", text.format(2))
        assert version("./v") != one
        assert len(one) < 20_000

    @pytest.mark.parametrize(
        "packages", ["node_modules/pg", ".venv/lib/python3.12/site-packages/alembic-1.13.dist-info"]
    )
    def test_it_runs_again_after_packages_were_installed(self, version, script, app, packages):
        script(".venv/bin/v", "#!/bin/sh\necho run >> runs; echo 1\n")
        (app.root / packages).mkdir(parents=True)
        version(".venv/bin/v")
        version(".venv/bin/v")
        assert (app.root / "runs").read_text() == "run\n"
        (app.root / packages).rename((app.root / packages).with_name("other"))
        version(".venv/bin/v")
        assert (app.root / "runs").read_text() == "run\nrun\n"

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("#!/bin/sh\necho no such option; exit 2\n", "ended with code 2\nno such option"),
            ("#!/bin/sh\necho only this >&2\n", "printed nothing\nonly this"),
        ],
    )
    def test_a_failure_is_an_error(self, version, script, text, reason):
        script("v", text)
        with pytest.raises(StepFailed, match="version_command failed") as error:
            version("./v")
        assert reason in error.value.details

    def test_a_missing_one_is_an_error(self, version):
        with pytest.raises(ProgramUnavailable):
            version("./nope")
