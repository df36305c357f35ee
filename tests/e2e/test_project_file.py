"""Project files, from the commands that people type to the databases they get."""

import json
import os
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from support import fix_liquibase
from support.directories import remove_tree
from support.fix_engine import environment
from support.shell import Shell, python_of
from support.waiting import eventually

pytestmark = pytest.mark.postgres

FILE = """
[database.app]
image = "postgres:18"
[[database.app.stage]]
psql = ["-f", "db/schema é.sql", "-v", "first=1"]
[database.demo]
from = "app"
[[database.demo.stage]]
psql = ["-f", "demo.sql", "-c", "insert into t values (3)"]
work_dir = "db"
"""


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(tmp_path)
    yield shell
    shell.close()


def make_shop(home: Path) -> Path:
    """Return a directory, with a blank in its name, that has a project file and its scripts."""
    shop = home / "my shop"
    (shop / "db").mkdir(parents=True)
    (shop / "sqlrs.toml").write_text(FILE)
    (shop / "db" / "schema é.sql").write_text(
        "create table t (n int); insert into t values (:first);\n"
    )
    (shop / "db" / "demo.sql").write_text("insert into t values (2);\n")
    return shop


@pytest.fixture
def shop(shell: Shell) -> Path:
    return make_shop(shell.home)


def numbers(dsn: str) -> list[int]:
    with psycopg.connect(dsn.strip()) as connection:
        return [row[0] for row in connection.execute("select n from t order by n")]


def test_up_has_one_database_running_until_its_inputs_change(shell: Shell, shop: Path) -> None:
    first = shell.json("up", "demo", cwd=shop / "db")
    assert numbers(first["dsn"]) == [1, 2, 3]
    assert (first["database"], first["name"], first["reused"]) == ("demo", "my-shop-demo", False)

    with psycopg.connect(first["dsn"]) as connection:
        connection.execute("insert into t values (9)")
    again = shell.run("up", "demo", cwd=shop)
    assert again.stdout == f"{first['dsn']}\n"
    assert "my-shop-demo is unchanged and runs already" in again.stderr
    assert numbers(again.stdout) == [1, 2, 3, 9], "what was written since is kept"

    (shop / "db" / "demo.sql").write_text("insert into t values (5);\n")
    changed = shell.run("up", "demo", cwd=shop)
    assert numbers(changed.stdout) == [1, 3, 5]
    assert f"the former one runs on as {first['instance_id'][:12]}" in changed.stderr
    assert numbers(first["dsn"]) == [1, 2, 3, 9], "nothing is lost"
    former = [
        each
        for each in shell.json("ls", "instances")
        if each["instance_id"] == first["instance_id"]
    ]
    assert former[0]["expires_at"], "it does not stay forever"

    fresh = shell.json("up", "demo", "--fresh", cwd=shop)
    assert fresh["reused"] is False
    assert fresh["dsn"] != changed.stdout.strip()
    assert numbers(shell.out("up", "demo", cwd=shop)) == [1, 3, 5]


def test_databases_share_the_states_that_they_have_in_common(shell: Shell, shop: Path) -> None:
    shell.out("up", "app", cwd=shop)
    plan = shell.out("plan", "demo", cwd=shop).splitlines()
    assert [line.split()[:1] + line.split()[2:3] for line in plan] == [
        ["STEP", "CACHED"],
        ["execute-0", "yes"],
        ["execute-1", "no"],
        ["execute-2", "no"],
    ]
    assert plan[1].endswith(f"-f {shop}/db/schema é.sql")
    # The same inputs on the command line lead to the same state.
    arguments = ("-f", "db/schema é.sql", "-v", "first=1")
    other = json.loads(shell.out("prepare", "--json", "--", *arguments, cwd=shop))
    assert other["state_id"] == shell.json("up", "app", cwd=shop)["state_id"]


def test_what_has_changed_is_explained(shell: Shell, shop: Path) -> None:
    assert shell.out("explain", "app", cwd=shop).startswith("miss: 1 step would run")
    shell.out("up", "app", cwd=shop)
    assert shell.out("explain", "app", cwd=shop).startswith("hit: ")
    assert shell.json("explain", "app", cwd=shop)["decision"] == "hit"
    file = shop / "sqlrs.toml"
    file.write_text(file.read_text().replace("first=1", "first=7"))
    changed = shell.out("explain", "app", cwd=shop).splitlines()
    assert changed[0] == "miss: 1 step would run, from the base state"
    assert changed[2].split() == ["execute-0", "variable", "first"]


def test_a_shell_gets_the_connection(shell: Shell, shop: Path) -> None:
    (shop / ".env.test").write_text("# mine\nexport PGUSER=me\n")
    lines = shell.out("up", "app", "--env", "--write-env", ".env.test", cwd=shop)
    for source in (lines, "set -a; . ./.env.test"):
        ended = subprocess.run(
            ["sh", "-c", f'{source}\nexec sh -c \'echo "$DATABASE_URL" "$PGUSER" "$PGPORT"\''],
            cwd=shop,
            capture_output=True,
            text=True,
            check=True,
        )
        url, user, port = ended.stdout.split()
        assert numbers(url) == [1]
        assert (user, port in url) == ("sqlrs", True)
    assert (shop / ".env.test").read_text().startswith("# mine\nexport PGUSER=sqlrs\n")
    assert (shop / ".env.test").stat().st_mode & 0o777 == 0o600


def test_git_is_kept_from_publishing_the_password(shell: Shell, shop: Path) -> None:
    (shop / ".env").touch()
    subprocess.run(["git", "init", "-q"], cwd=shop, check=True)
    subprocess.run(["git", "add", ".env"], cwd=shop, check=True)
    ended = shell.run("up", "app", "--write-env", ".env", cwd=shop)
    assert ended.returncode == 0
    assert "warning: Git tracks .env" in ended.stderr


def test_the_time_to_live_is_that_of_the_file(shell: Shell, shop: Path) -> None:
    file = shop / "sqlrs.toml"
    file.write_text(FILE.replace('"postgres:18"', '"postgres:18"\nname = "db"\nttl = "1h"'))
    made = shell.json("up", "app", cwd=shop)
    [instance] = shell.json("ls", "instances")
    assert instance["name"] == "db"
    assert "expires_at" in instance
    file.write_text(file.read_text().replace("1h", "0"))
    assert shell.json("up", "app", cwd=shop)["instance_id"] == made["instance_id"]
    [instance] = shell.json("ls", "instances")
    assert "expires_at" not in instance


def test_simultaneous_commands_get_the_same_instance(shell: Shell, shop: Path) -> None:
    shell.out("up", "app", cwd=shop)
    answers: list[str] = []
    workers = [
        threading.Thread(target=lambda: answers.append(shell.out("up", "demo", cwd=shop)))
        for _ in range(4)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(answers) == 4
    assert len(set(answers)) == 1


def test_a_deleted_database_is_made_again(shell: Shell, shop: Path) -> None:
    first = shell.json("up", "app", cwd=shop)
    eventually(lambda: "deleted" in shell.run("rm", "my-shop-app").stdout)
    second = shell.json("up", "app", cwd=shop)
    assert second["instance_id"] != first["instance_id"]
    assert numbers(second["dsn"]) == [1]


def test_failures_name_the_place(shell: Shell, shop: Path) -> None:
    (shop / "db" / "demo.sql").write_text("insert into t values (2);\nselect nonsense;\n")
    failed = shell.run("up", "demo", cwd=shop)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert "demo.sql:2: ERROR" in failed.stderr
    as_json = shell.run("up", "demo", "--json", cwd=shop)
    assert '"code": "step_failed"' in as_json.stdout
    (shop / "db" / "demo.sql").write_text("create extension postgis;\n")
    lacking = shell.run("up", "demo", cwd=shop)
    assert lacking.returncode == 1
    assert "in sqlrs.toml, --image is database.app.image" in lacking.stderr
    (shop / "db" / "demo.sql").unlink()
    for command in ("up", "plan", "explain"):
        refused = shell.run(command, "demo", cwd=shop)
        assert refused.returncode == 1
        assert f"database.demo.stage[0]: {shop}/db/demo.sql" in refused.stderr


def test_stages_of_every_kind_follow_each_other(shell: Shell, shop: Path) -> None:
    dump = shell.out("prepare", "--name", "prod", "--", "-c", "create table p as select 4 as n")
    dumped = shell.out("exec", "prod", "--", "pg_dump", "--table=p")
    assert "4" in dumped, dump
    (shop / "prod.sql").write_text(dumped)
    (shop / "migrate.sh").write_text(
        "#!/bin/sh\n"
        f'exec {shell.python} -c "import os, psycopg; '
        "psycopg.connect(os.environ['DATABASE_URL'], autocommit=True).execute("
        "'insert into p values (' + open('input').read() + ')')\"\n"
    )
    (shop / "migrate.sh").chmod(0o755)
    (shop / "input").write_text("6")
    stages = [
        'dump = "prod.sql"\ncreate_roles = false',
        f'command = ["./migrate.sh"]\ninputs = ["input"]\n'
        f'env = {{PYTHONPATH = "{environment(shell.home)["PYTHONPATH"]}"}}',
        'psql = ["-c", "insert into p values (8)"]',
    ]
    text = '[database.all]\nimage = "postgres:18"\n'
    text += "".join(f"[[database.all.stage]]\n{stage}\n" for stage in stages)
    (shop / "sqlrs.toml").write_text(text)
    assert shell.out("check", cwd=shop) == "sqlrs.toml is valid: all\n"
    made = shell.json("up", cwd=shop)
    with psycopg.connect(made["dsn"]) as connection:
        rows = connection.execute("select n from public.p order by n").fetchall()
    assert rows == [(4,), (6,), (8,)]
    (shop / "input").write_text("7")
    assert "file" in shell.out("explain", cwd=shop)
    assert shell.out("plan", cwd=shop).split().count("no") == 2
    assert shell.json("up", cwd=shop)["state_id"] != made["state_id"]


def test_changelogs_are_stages_too(shell: Shell, shop: Path) -> None:
    fix_liquibase.found()
    (shop / "c.sql").write_text(
        "--liquibase formatted sql\n--changeset me:1\ninsert into t values (7);\n"
    )
    (shop / "sqlrs.toml").write_text(
        f'{FILE}[[database.demo.stage]]\nliquibase = ["update", "--changelog-file", "c.sql"]\n'
    )
    assert numbers(shell.out("up", "demo", cwd=shop)) == [1, 2, 3, 7]


def test_prepares_start_from_a_name_or_a_state(shell: Shell, shop: Path) -> None:
    made = shell.json("up", "app", cwd=shop)

    def prepared(origin: str) -> Any:
        arguments = ("prepare", "--json", "--from", origin, "--", "-f", "db/demo.sql")
        return json.loads(shell.out(*arguments, cwd=shop))

    more = prepared("my-shop-app")
    assert numbers(more["dsn"]) == [1, 2]
    for reference in (made["state_id"], made["state_id"][:12]):
        assert prepared(reference)["state_id"] == more["state_id"]
    unknown = shell.run("prepare", "--from", "nobody", "--", "-c", "select 1")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no name or state to start from" in unknown.stderr
    both = shell.run("prepare", "--from", "x", "--image", "postgres:18", "--", "-c", "select 1")
    assert both.returncode == 2


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_has_a_database(tmp_path: Path) -> None:
    nobody = 65534
    python = python_of(nobody)
    if python is None:
        pytest.skip("no interpreter that another user can start")
    home = Path(tempfile.mkdtemp(prefix="sqlrs-test-"))
    shell = Shell(home, user=nobody, python=python)
    try:
        shop = make_shop(home)
        for path in (home, *home.rglob("*")):
            os.chown(path, nobody, nobody)
        assert numbers(shell.out("up", "demo", "--write-env", ".env", cwd=shop)) == [1, 2, 3]
        assert (shop / ".env").stat().st_uid == nobody
        assert shell.json("up", "demo", cwd=shop)["reused"]
    finally:
        shell.close()
        remove_tree(home)
