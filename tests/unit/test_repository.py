"""The repository keeps its own promises: links resolve, commands exist, imports go one way."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from sqlrs_engine import cli

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "examples/**/*.md", "tests/**/*.md")
    for path in ROOT.glob(pattern)
)
SCRIPTS = sorted([*ROOT.glob("scripts/*"), ROOT / ".ci" / "run"])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """The fragments GitHub gives to the headings of a document."""
    text = FENCE.sub("", document.read_text())
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands(document: Path) -> list[list[str]]:
    """The command lines in a document's unmarked code blocks, comments left out."""
    lines = [
        line
        for language, block in FENCE.findall(document.read_text())
        if language in ("", "sh", "bash")
        for line in block.replace("\\\n", " ").splitlines()
    ]
    called = [
        line for line in lines if re.match(r"(\$ )?(scripts/|sqlrs-engine |python -m )", line)
    ]
    return [shlex.split(line.removeprefix("$ "), comments=True) for line in called]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_resolve(document):
    for target in LINK.findall(FENCE.sub("", document.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        linked = (document.parent / path).resolve() if path else document
        assert linked.exists(), f"{name(document)} links to {target}"
        if fragment:
            assert fragment in anchors(linked), f"{name(document)} links to {target}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_exist(document, capsys):
    for program, *arguments in commands(document):
        if program == "sqlrs-engine":
            own = arguments[: arguments.index("--")] if "--" in arguments else arguments
            depth = 2 if own[0] == "postgres" else 1
            assert cli.main([*own[:depth], "--help"], {}) == 0, f"{name(document)}: {own}"
            described = capsys.readouterr().out
            assert [flag for flag in own if flag.startswith("-") and flag not in described] == []
        elif program == "python":
            assert (ROOT / arguments[1]).is_dir(), f"{name(document)} runs {arguments[1]}"
        else:
            assert os.access(ROOT / program, os.X_OK), f"{name(document)} calls {program}"


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_scripts_are_sound_bash(script):
    subprocess.run(["bash", "-n", str(script)], check=True)
    if script.name != "common":
        assert os.access(script, os.X_OK)
        assert "\nset -euo pipefail\n" in script.read_text()


def test_readme_shows_the_example_test_as_it_is():
    shown = [block for language, block in FENCE.findall(readme()) if language == "python"]
    example = (ROOT / "examples/pytest/test_trips.py").read_text()
    assert shown
    assert [block for block in shown if block not in example] == []


def test_readme_names_the_one_copyleft_dependency():
    assert re.search(r"`ndjson` is GPL-3\.0", readme())


def readme() -> str:
    return (ROOT / "README.md").read_text()


def test_every_document_is_linked_from_the_readme():
    linked = {(ROOT / target.partition("#")[0]).resolve() for target in LINK.findall(readme())}
    assert set((ROOT / "docs").glob("*.md")) <= linked


def test_imports_go_one_way():
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run(
        [str(linter), "--no-cache"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_module_says_what_it_is():
    for module in ROOT.glob("sqlrs_engine/**/*.py"):
        assert ast.get_docstring(ast.parse(module.read_text())), f"{name(module)} has no docstring"


def contributing() -> str:
    return (ROOT / "CONTRIBUTING.md").read_text()


def test_the_map_names_every_top_level_package_and_module():
    table = contributing().partition("\n## Map\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    there = {path.stem for path in ROOT.glob("sqlrs_engine/[!_]*") if path.suffix in ("", ".py")}
    assert sorted(named) == sorted(there)


def test_modules_that_the_guide_names_exist():
    packages = "|".join(path.parent.name for path in ROOT.glob("sqlrs_engine/*/__init__.py"))
    named = re.findall(rf"`((?:{packages})\.\w+(?:\.\w+)*)`", contributing())
    assert named
    for dotted in set(named) - {"engine.json"}:
        path = ROOT / "sqlrs_engine" / dotted.replace(".", "/")
        parent = path.parent.with_suffix(".py")  # when the last word is a name in a module
        assert path.is_dir() or path.with_suffix(".py").exists() or parent.exists(), dotted


def test_the_support_package_describes_each_of_its_modules():
    package = ROOT / "tests" / "support"
    described = re.findall(r"``(\w+)``", (package / "__init__.py").read_text())
    modules = {path.stem for path in package.glob("[!_]*.py")}
    assert modules <= set(described)
