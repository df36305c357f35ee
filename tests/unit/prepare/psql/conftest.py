"""Directories of scripts, and the digests of what they contain."""

from pathlib import Path

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.psql.arguments import Input
from sqlrs_engine.prepare.psql.input_digest import input_digest
from sqlrs_engine.prepare.psql.local_files import LocalFiles


class Workspace:
    """A directory of scripts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.files = LocalFiles()

    def write(self, name, text):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def content(self, name="main.sql", **variables):
        path = self.root / name
        return input_digest(
            Input("file", str(path)),
            None,
            files=self.files,
            directory=path.parent,
            variables=variables,
        )

    def digest(self, name="main.sql", **variables):
        return self.content(name, **variables).digest

    def text(self, text, kind="stdin", directory=...):
        return input_digest(
            Input(kind, text if kind == "command" else ""),
            text if kind == "stdin" else None,
            files=self.files,
            directory=self.root if directory is ... else directory,
            variables={},
        )

    def refusal(self, name="main.sql", **variables):
        with pytest.raises(InvalidArgument) as caught:
            self.content(name, **variables)
        return caught.value.message, caught.value.details

    def reads(self, name="main.sql", **variables):
        return [str(f.path.relative_to(self.root)) for f in self.content(name, **variables).files]


@pytest.fixture
def work(tmp_path):
    return Workspace(tmp_path)


@pytest.fixture
def tree(work):
    """Three scripts deep, with a data file at the bottom."""
    work.write("main.sql", "select 1;\n\\i sub/one.sql\n")
    work.write("sub/one.sql", "\\ir two.sql\n\\ir ../sub/two.sql\n")
    work.write("sub/two.sql", "create table t (a text);\n\\copy t from 'data.csv'\n")
    work.write("data.csv", "1\n")
    return work


@pytest.fixture
def read(tmp_path):
    (tmp_path / "x.sql").write_text("select 1;\n")

    def content(script, kind="stdin", **given):
        return input_digest(
            Input(kind, script if kind == "command" else ""),
            script if kind == "stdin" else None,
            files=LocalFiles(),
            directory=tmp_path,
            variables=given.pop("variables", {}),
            **given,
        )

    return content
