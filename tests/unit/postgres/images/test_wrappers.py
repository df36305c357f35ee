"""The scripts that start the programs of an image."""

import subprocess
from pathlib import Path, PurePosixPath

import pytest
from support.elf_files import write

from sqlrs_engine.postgres.images.wrappers import (
    BIN_DIR,
    CACHE,
    LINKS_DIR,
    OWN_PATH,
    write_locale_list,
    write_wrapper,
)

# It prints what it was given, and what its two descriptors are.
PROGRAM = b"""#!/bin/sh
printf '%s\\n' "$0" "$@" "$DATA"
readlink /proc/self/fd/8 /proc/self/fd/9
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "with blank & 'quotes'"
    write(root / "usr/my bin/$prog", PROGRAM)
    for directory in (BIN_DIR, LINKS_DIR):
        (root / directory).mkdir(parents=True)
    (root / CACHE).touch()
    write_wrapper(
        root / BIN_DIR / "prog",
        PurePosixPath("/usr/my bin/$prog"),
        {"DATA": (PurePosixPath("/a b"), PurePosixPath("/c"))},
    )
    return root


def _output(command: str, *arguments: str, cwd: Path) -> list[str]:
    answer = subprocess.run(
        [command, *arguments], cwd=cwd, capture_output=True, text=True, check=True
    )
    return answer.stdout.splitlines()


def test_the_program_gets_its_arguments_data_and_descriptors(root):
    lines = _output(str(root / BIN_DIR / "prog"), "-c", "two words", "", cwd=Path("/"))
    assert lines == [
        f"{root}/usr/my bin/$prog",
        "-c",
        "two words",
        "",
        f"{root}/a b:{root}/c",
        f"{root}/{CACHE}",
        f"{root}/{LINKS_DIR}",
    ]


@pytest.mark.parametrize("command", [f"{BIN_DIR}/prog", f"./{BIN_DIR}/prog"])
def test_a_script_is_found_by_a_relative_path(root, command):
    assert _output(command, cwd=root)[-1] == f"{root}/{LINKS_DIR}"


def test_a_script_is_found_from_its_own_directory(root):
    assert _output("./prog", cwd=root / BIN_DIR)[-1] == f"{root}/{LINKS_DIR}"


def test_a_tree_that_is_not_whole_is_reported(root):
    (root / CACHE).unlink()
    answer = subprocess.run(
        [root / BIN_DIR / "prog"], capture_output=True, text=True, check=False, cwd="/"
    )
    assert answer.returncode != 0
    assert CACHE in answer.stderr


@pytest.mark.parametrize("names", [[], ["C", "en_US.utf8", "it's"]])
def test_initdb_finds_the_locales_of_the_image(root: Path, names: list[str]) -> None:
    write(root / "usr/my bin/initdb", b"#!/bin/sh\nlocale -a\n")
    program = PurePosixPath("/usr/my bin/initdb")
    write_wrapper(root / BIN_DIR / "initdb", program, {}, own_path=True)
    write_locale_list(root / OWN_PATH, names)
    assert _output(str(root / BIN_DIR / "initdb"), cwd=Path("/")) == names
