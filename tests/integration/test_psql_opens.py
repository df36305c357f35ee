r"""The files that psql opens are those that planning finds, or the step is volatile if it
cannot be observed.

The real psql of each PostgreSQL that is installed runs each script here, and inotify reports the
files that it opens.
"""

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.psql_opens import watching

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.prepare.psql.interpreter.session import SessionStart
from sqlrs_engine.prepare.psql.local_files import LocalFiles
from sqlrs_engine.prepare.psql.planner import PsqlPlanner
from sqlrs_engine.prepare.stages import PsqlStage

pytestmark = pytest.mark.postgres


FILES = ("a.sql", "b.sql", "sub/x.sql", "sub/deep/x.sql", "x.sql", "d.csv", "a b.sql")


class Workspace:
    """A directory of scripts, in which psql runs them and planning reads them.

    Below it is another one with the same names, from which ``\\ir`` starts if the script is there.
    """

    def __init__(self, root: Path, cluster) -> None:
        self.root = root
        self.cluster = cluster
        self.main = root / "main.sql"
        for name in FILES:
            for place in ("", "below"):
                self.write(f"{place}/{name}".lstrip("/"), "" if "csv" in name else "select 1;\n")
        (root / "link").symlink_to(root / "sub/deep")

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    def directories(self) -> list[Path]:
        return [self.root, *(path for path in self.root.rglob("*/") if not path.is_symlink())]

    def psql(self, script: bytes, *options: str, kind="file") -> tuple[set[str], int, str]:
        """Return what psql opens besides the script itself, its exit code and its output."""
        line = ["-X", "-v", "ON_ERROR_STOP=1", *options]
        stdin = subprocess.DEVNULL
        if kind == "file":
            self.main.write_bytes(script)
            line += ["-f", str(self.main)]
        elif kind == "command":
            line += ["-c", os.fsdecode(script)]
        else:
            line += ["-f", "-"]
            stdin = subprocess.PIPE
        with watching(self.directories()) as opens:
            process = self.cluster.client(
                "psql", line, port=None, cwd=self.root, stdin=stdin,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                environment={"HOME": str(self.root / "home")},
            )  # fmt: skip
            with process:
                output, _ = process.communicate(script if kind == "stdin" else None, timeout=60)
            seen = {os.path.realpath(path) for path in opens.seen()}
        return seen - {str(self.main)}, process.returncode, output.decode("latin1")

    def read(self, script: bytes, *options: str, kind="file", **variables: str):
        """Return the files that planning finds besides the script itself, and the digest."""
        text = os.fsdecode(script)
        args = [*options]
        for name, value in variables.items():
            args += ["-v", f"{name}={value}"]
        args += {"command": ["-c", text], "stdin": ["-f", "-"]}.get(kind, ["-f", str(self.main)])
        if kind == "file":
            self.main.write_bytes(script)
        beside = kind == "file" and self.main.parent == self.root
        stage = PsqlStage(
            psql_args=tuple(args),
            work_dir=None if beside else str(self.root),
            stdin=text if kind == "stdin" else None,
        )
        planner = PsqlPlanner(LocalFiles(), home=str(self.root / "home"))
        (step,) = planner.draft(stage, SessionStart.of({})).steps
        assert step.directory == self.root  # where the step runs psql
        found = {os.path.realpath(read.path) for read in step.digest.files}
        return found - {str(self.main)}, step.digest.unobserved()


@pytest.fixture
def work(tmp_path, running):
    tmp_path.chmod(0o755)
    (tmp_path / "home").mkdir()
    return Workspace(tmp_path, running)


COPY = "create temp table t (a text);\n"
QUOTED = "O'Brien\n\\.\n"


@pytest.fixture(params=["beside the script", "in the work_dir"])
def either_work(request, work):
    """psql runs in the script's directory, or in that of a request, which differs."""
    if request.param == "in the work_dir":
        work.main = work.root / "below/main.sql"
    return work


# Planning must find exactly these files, and have no doubt.
EXACT = {
    "semicolons": "\\i x.sql;\n\\ir 'a.sql';\n\\set f b.sql\n\\i :f;\n",
    "relative to the script": "\\ir x.sql\n\\i x.sql\n\\cd sub\n\\include_relative a.sql\n"
    "\\ir sub/x.sql\n\\i x.sql\n\\ir sub/deep/../../b.sql\n",
    "in the working directory": COPY
    + "\\include b.sql\n\\copy t from 'd.csv'\n\\lo_import d.csv\n\\i sub/../a.sql\n",
    "semicolon after cd": "\\cd sub;\n\\i x.sql ;\n",
    "semicolon in quotes": "\\set ON_ERROR_STOP 0\n\\i 'x.sql;'\n\\i a.sql\n",
    "capitals": COPY + "\\COPY t from d.csv\n\\CoPy t from 'd.csv' csv\n",
    "other capitals": "\\set ON_ERROR_STOP off\n\\I x.sql\n\\IR x.sql\n\\i a.sql\n",
    "linked directories": "\\i link/../x.sql\n\\i nodir/../a.sql\n\\i ./sub//deep/../x.sql\n",
    "linked directories of cd": "\\cd link\n\\i ../x.sql\n\\cd ..\n\\i x.sql\n",
    "linked data": COPY + "\\copy t from link/../d.csv\n\\copy t from nodir/../d.csv\n",
    "relative after cd": "\\i sub/rel.sql\n",
    "tilde": "\\i ~/h.sql\n\\cd\n\\i h.sql\n",
    "setenv home": "\\setenv HOME sub\n\\i ~/x.sql\n\\cd\n\\i deep/x.sql\n",
    "no tilde in cd": "\\set ON_ERROR_STOP off\n\\cd ~\n\\i x.sql\n",
    "byte order mark": b"\xef\xbb\xbfcreate temp table t (a text);copy t from stdin;\n"
    b"O'Brien\n\\.\n\\i x.sql\n",
    "marked include": "create temp table s (a text);\n\\i bom.sql\n\\i a.sql\n",
    "strings with escapes": "set standard_conforming_strings = off;\nselect 'it\\'s';\n"
    "\\i x.sql\nselect 'a\\';\n\\i a.sql\n';\n",
    "strings of bits and of Unicode": "set standard_conforming_strings to 'off';\n"
    "select b'1', x'1f', n'it\\'s';\n\\i x.sql\n",
    "strings back again": "set session standard_conforming_strings = off;\n"
    "reset standard_conforming_strings;\nselect 'a\\';\n\\i x.sql\n",
    "strings rolled back": "begin;\nset standard_conforming_strings = off;\nselect 'it''s';\n"
    "rollback;\nselect 'it''s';\n\\i x.sql\n",
    "strings by an include": "\\i off.sql\nselect 'it\\'s';\n\\i x.sql\n",
    "strings of a new session": "set standard_conforming_strings = off;\n\\c\nselect 'a\\';\n"
    "\\i x.sql\n",
    "Japanese": b"set client_encoding = 'SJIS';\nselect E'\x83\x5c', '\x83\x5c';\n\\i x.sql\n",
    "Chinese": b"set names 'big5';\nselect E'\xa5\x5c';\n\\i x.sql\n",
    "Chinese by a command": b"\\encoding GBK\nselect E'\x81\x5c';\n\\i x.sql\n",
    "no longer Chinese": b"\\encoding BIG5\nselect E'\xa5\x5c';\n\\encoding UTF8\n"
    b"select E'\xc3\xa5\\'';\n\\i x.sql\n",
    "single line": "\\set SINGLELINE on\n" + COPY + "copy t from stdin\n" + QUOTED + "\\i x.sql\n",
    "single line with parentheses": "\\set SINGLELINE\ncreate temp table t (\na text)\n"
    "copy t from stdin\n" + QUOTED + "\\unset SINGLELINE\nselect 'it''s'\n;\\i x.sql\n",
    "quit": "\\i quits.sql\n\\i x.sql\n\\q\n\\i nothing.sql\n",
    "quit in a block": "\\if false\n\\q\n\\endif\n\\i x.sql\n\\if 1\n\\q\n\\endif\n\\i a.sql\n",
    "goes on": "\\set ON_ERROR_STOP off\n\\i nothing.sql\n\\cd nowhere\n\\i x.sql\n"
    "\\copy t from nothing.csv\n\\i sub\n\\i a.sql\n",
    "goes on in an include": "\\i goon.sql\n\\i nothing.sql\n\\i x.sql\n",
    "conditions": "\\if :{?f}\n\\i x.sql\n\\elif true\n\\i a.sql\n\\if off\n\\i b.sql\n\\else\n"
    "\\i 'a b.sql'\n\\endif\n\\else\n\\i sub/x.sql\n\\endif\n",
    "conditions on nonsense": "\\if maybe\n\\i x.sql\n\\else\n\\i a.sql\n\\endif\n",
    "data in a branch": COPY + "\\if false\ncopy t from stdin;\n\\i x.sql\n\\endif\n\\i a.sql\n",
    "quotes open in a branch": "\\if 0\nselect (\n\\else\nselect 1\n\\endif\n;\n"
    + COPY
    + "copy t from stdin;\n"
    + QUOTED
    + "\\i x.sql\n",
    "comment to a carriage return": "select 1; -- it's\r\\i x.sql\n",
    "names with dollars": 'create temp table a$$ (n int); \\i x.sql\nselect 1 as "$$";\n',
    "names with high bytes": "create temp table é$$ (n int); \\i x.sql\nselect $$it's$$;\n",
    "strings beside names": "select 1 as nameE, 'a\\' as éE;\n\\i x.sql\n",
    "dollars in dollars": "select $a$ $b$ $a $a$; \\i x.sql\n",
    "a string goes on after a return": "select E'a'\r'it\\'s';\n\\i x.sql\n",
    "a comment in an operator": "select 1 +/* it's */ 1, 1 *-- it's\n1;\n\\i x.sql\n",
    "two copies": COPY
    + "copy t from stdin; copy t from stdin; select '\n"
    + QUOTED
    + QUOTED
    + "';\n\\i x.sql\n",
    "a copy again": COPY + "copy t from stdin;\n" + QUOTED + "\\g\n" + QUOTED + "\\i x.sql\n",
    "a copy that is sent": COPY + "copy t from stdin \\g\n" + QUOTED + "\\i x.sql\n",
    "a copy without an end": COPY + "copy t from stdin;\nO'Brien\n\\i x.sql\n",
    "carriage returns": (
        COPY + "copy t from stdin;\n" + QUOTED + "\\i x.sql\n\\copy t from d.csv\n"
    ).replace("\n", "\r\n"),
    "variables": "\\set f a\n\\set f :f ' b.sql'\n\\i :f\n",
    "variables that are whole": "\\set q '''it''''s'''\nselect :q, :'q';\n\\i x.sql\n",
    "a number that looks like a variable": "\\set 00 '\\''\nselect '10:00:00'::time;\n\\i x.sql\n",
    "output with options": "select 1 \\g (format=csv title='a b') | cat > /dev/null; : \\i x.sql\n"
    "\\i a.sql\n",
    "large objects": "\\lo_import 'd.csv';\n\\lo_import sub/../d.csv comment\n",
    "an empty name": "\\set ON_ERROR_STOP off\n\\i ''\n\\i\n\\i x.sql extra 'words' \\i a.sql\n",
    "nothing at all": "\\i /dev/null\n\\i x.sql\n",
    "crosstab": "select 1 as a, 2 as b, 3 as c \\crosstabview a b c \\i x.sql\n",
}


@pytest.mark.parametrize("script", EXACT.values(), ids=EXACT)
def test_the_files_that_psql_opens_are_found(either_work, script):
    work = either_work
    work.write("home/h.sql", "select 1;\n")
    work.write("sub/rel.sql", "\\cd sub\n\\set ON_ERROR_STOP off\n\\ir x.sql\n\\i x.sql\n")
    work.write("bom.sql", b"\xef\xbb\xbfcopy s from stdin;\nO'Brien\n\\.\n\\i x.sql\n")
    work.write("off.sql", "set standard_conforming_strings = off;\n")
    work.write("quits.sql", "\\i a.sql\n\\q\n\\i b.sql\n")
    work.write("goon.sql", "\\set ON_ERROR_STOP off\n")
    data = script if isinstance(script, bytes) else script.encode()
    opened, _, said = work.psql(data)
    found, content = work.read(data)
    assert (found, content.volatile) == (opened, None), said


def test_the_files_that_psql_writes_are_known(either_work):
    work = either_work
    script = (
        COPY + "\\o o.txt\nselect 1;\n\\o\nselect 2 \\g g.txt\n\\w w.sql\n\\copy t to c.csv\n"
        "\\cd sub\nselect 3 \\gx gx.txt\n\\i x.sql\n"
    ).encode()
    options = ("-o", "option.txt", "-L", "log.txt")
    opened, code, said = work.psql(script, *options)
    assert code == 0, said
    found, content = work.read(script, *options)
    assert content.volatile is None
    assert found | content.next_start.written == opened


# Where only psql can know, the step is volatile, or planning finds at least what psql opens.
GUARDED = {
    "strings set where it may fail": "\\set ON_ERROR_STOP off\n"
    "set standard_conforming_strings = off; select 'a\\';\n\\i x.sql\n';\n",
    "strings set in a block": "do $$ begin set standard_conforming_strings = off; end $$;\n"
    "select 'it\\'s';\n\\i x.sql\n",
    "strings set by a function": "select set_config('standard_conforming_strings', 'off', false);\n"
    "select 'it\\'s';\n\\i x.sql\n",
    "strings of a database": "alter database postgres set standard_conforming_strings = off;\n\\c\n"
    "select 'it\\'s';\n\\i x.sql\nalter database postgres reset all;\n",
    "an encoding set by a function": b"select set_config('client_encoding', 'SJIS', false);\n"
    b"select E'\x83\x5c';\n\\i x.sql\n",
    "strings rolled back where they differ": "begin;\nset standard_conforming_strings = off;\n"
    "rollback;\nselect 'a\\';\n\\i x.sql\n",
    "a string that the server goes on with": "\\set ON_ERROR_STOP off\nselect E'a'\n'it\\';\n"
    "\\i x.sql\n';\n",
    "a copy that fails": "\\set ON_ERROR_STOP off\ncopy nothing from stdin;\n\\i x.sql\nO'Brien\n"
    "\\.\n\\i a.sql\n';\n\\i b.sql\n",
    "a command in a variable": "\\set c '\\\\i x.sql'\n:c\n",
    "half a statement in a variable": "\\set c 'select '''\n:c it's \\i x.sql\n';\n",
    "a file that is written first": "\\o b.sql\n\\qecho select 1;\n\\o\n\\i b.sql\n",
    "a program's choice": "\\set f `echo x.sql`\n\\i :f\n",
    "the server's choice": "select 'x.sql' as f \\gset\n\\i :f\n",
    "a condition of the server's": "select true as t \\gset\n\\if :t\n\\i x.sql\n\\else\n"
    "\\i a.sql\n"
    "\\endif\n",
    "a version of the server's": "\\if :{?SERVER_VERSION_NUM}\n\\i x.sql\n\\endif\n",
    "a quit that may not happen": "select 1 as t \\gset\n\\if :t\n\\q\n\\endif\n\\i x.sql\n",
    "as often as the server says": "select coalesce(:n, 0) < 3 as more, coalesce(:n, 0) + 1 as n"
    " \\gset\n\\if :more\n\\i main.sql\n\\endif\n\\i x.sql\n",
    "NUL": b"select 'a\0'\n';\n\\i x.sql\n",
}


@pytest.mark.parametrize("script", GUARDED.values(), ids=GUARDED)
def test_files_that_only_psql_knows_make_the_step_volatile(either_work, script):
    work = either_work
    data = script if isinstance(script, bytes) else script.encode()
    found, content = work.read(data, n="0")
    opened, _, said = work.psql(data, "-v", "n=0")
    assert content.volatile or found >= opened, said


@pytest.mark.parametrize("kind", ["stdin", "command"])
@pytest.mark.parametrize(
    "script",
    [
        "\\i x.sql",
        "\\ir sub/x.sql",
        "\\i sub/../a.sql; \\i x.sql",
        "select 1; select 'it''s'",
        "\\copy (select 1) to /dev/null",
        "create temp table t (a text);\n\\copy t from d.csv\n\\i -\n\\i x.sql\n",
        "create temp table t (a text);\ncopy t from stdin;\nO'Brien\n\\.\n\\i x.sql\n",
        "create temp table t (a text);\n\\copy t from pstdin\nO'Brien\n\\.\n\\i x.sql\n",
        "\\prompt f\n\\i x.sql\n\\i a.sql\n",
    ],
)
def test_files_of_commands_and_standard_input_are_found(work, kind, script):
    found, content = work.read(script.encode(), kind=kind)
    opened, _, said = work.psql(script.encode(), kind=kind)
    assert content.volatile or found == opened, said


PIECES = [
    "'", "''", "E'", "\\'", '"', "$$", "$a$", "/*", "*/", "--", "(", ")", ";", ":", "\\;", "\\\\",
    "é", "a$", "b", "1", " ", "\n", "\n", "\r\n", "\r", "select 1", "select 'it''s';",
    "select E'a'", "\\i x.sql", "\\i x.sql\n", "\\ir sub/x.sql;", "\\i sub/../a.sql",
    "\\i 'a b.sql'", "\\i :f\n",
    "\\i nothing.sql\n", "\\i sub/rel.sql\n", "\\COPY t from d.csv\n", "\\copy t from stdin\n",
    "\\copy t from pstdin\n", "\\cd sub\n", "\\cd ..\n", "\\cd link\n", "\\cd nodir\n", "\\cd\n",
    "\\set f b.sql\n", "\\set f ''''\n", "\\set f `echo x.sql`\n", "\\unset f\n", ":f", ":'f'",
    "\\if true\n", "\\if false\n", "\\if :{?f}\n", "\\if :f\n", "\\elif true\n", "\\else\n",
    "\\endif\n", "\\endif\n", "\\q\n", "\\echo it's\n", "\\echo :f \\i b.sql\n", "\\r\n", "\\g\n",
    "\\gset\n", "\\p\n", "\\! echo \\i x.sql\n", "\\o | cat > /dev/null\n", "\\o\n",
    "\\set ON_ERROR_STOP off\n", "\\set ON_ERROR_STOP on\n", "\\set SINGLELINE on\n",
    "\\unset SINGLELINE\n", "set standard_conforming_strings = off;", "begin;", "rollback;\n",
    "reset all;\n", "copy t from stdin;", "copy t from stdin;\n", "\nO'Brien\n\\.\n", "\n\\.\n",
    "\\c\n", "\\encoding SJIS\n", "set client_encoding = 'UTF8';\n", "\\encoding LATIN1\n",
    "\\restrict k\n", "\\unrestrict k\n", "\\bind\n", "\\gdesc\n",
]  # fmt: skip


@pytest.fixture(scope="module")
def pieces_work(tmp_path_factory, running):
    root = tmp_path_factory.mktemp("pieces")
    (root / "home").mkdir()
    work = Workspace(root, running)
    work.write("sub/rel.sql", "\\ir ../a.sql\n\\set f 'a b.sql'\n")
    return work


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.sampled_from(["", "below"]), st.lists(st.sampled_from(PIECES), max_size=25))
def test_no_file_of_a_random_script_is_left_out(pieces_work, place, pieces):
    """Planning finds every file that psql opens, or marks the step volatile."""
    pieces_work.main = pieces_work.root / place / "main.sql"
    script = ("create temp table t (a text);\n" + "".join(pieces)).encode()
    opened, code, said = pieces_work.psql(script)
    try:
        found, content = pieces_work.read(script)
    except InvalidArgument as error:
        refused, known = str(error), False
    else:
        refused, known = "", content.volatile is None
    assert not (refused and code == 0), refused
    assert not known or found >= opened, said
