"""Changelogs on real PostgreSQL by the real Liquibase, beside plain Liquibase on a new database."""

import difflib
import gzip
import random
import tempfile
import time
from pathlib import Path
from textwrap import dedent

import psutil
import psycopg
import pytest
from support import fix_liquibase
from support.fix_store import Store, query
from support.prepare_requests import single_stage
from support.waiting import eventually

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.postgres.distributions.catalog import Distributions
from sqlrs_engine.prepare.build import stretch

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(600)]

IMAGE = "postgres:18"
PATIENCE = 400.0  # a JVM each for a dozen changesets takes its time on a busy machine


class Changelogs(Store):
    """An engine, and a directory with changelogs."""

    patience = PATIENCE

    def __init__(self, root: Path, directory: Path) -> None:
        super().__init__(root, IMAGE)
        self.directory = directory

    def lb(self, *args, **fields):
        return self.wait(self.submit_lb(*args, **fields))

    def submit_lb(self, *args, **fields):
        fields.setdefault("work_dir", str(self.directory))
        request = single_stage(
            prepare_kind="lb", image_id=self.image, liquibase_args=args, **fields
        )
        return self.engine.prepare.submit(request).job_id

    def made(self, *args, **fields):
        job = self.lb(*args, **fields)
        assert job.status == "succeeded", job.error
        return job.result

    def failed(self, *args, **fields):
        job = self.lb(*args, **fields)
        assert job.status == "failed", job.result
        return job.error

    def cached_after(self, *args, **fields):
        """Prepare, and return which steps were cached."""
        job = self.lb(*args, **fields)
        assert job.status == "succeeded", job.error
        return self.cached(job.job_id)

    def plainly(self, *args, directory=None):
        """Return the DSN of a new database migrated by plain Liquibase."""
        dsn = self.prepare()["dsn"]
        fix_liquibase.update(dsn, directory or self.directory, *args)
        return dsn

    def bin_dir(self):
        return Distributions(self.root / "postgres").resolve(self.image).bin_dir

    def assert_same(self, result, plain):
        ours, theirs = (contents(dsn, self.bin_dir()) for dsn in (result["dsn"], plain))
        assert ours[1] == theirs[1]
        differences = difflib.unified_diff(theirs[0].splitlines(), ours[0].splitlines(), "plain")
        told = "\n".join(differences)
        assert not told, told

    def until_logged(self, job_id, text):
        eventually(lambda: any(text in line for line in self.logs(job_id)), text)

    def jvms(self):
        found = []
        for process in psutil.process_iter(["cmdline", "cwd"]):  # None where that is forbidden
            ours = any("session.jar" in word for word in process.info["cmdline"] or ())
            if ours and process.info["cwd"] == str(self.directory):
                found.append(process.pid)
        return found


def contents(dsn, bin_dir):
    with psycopg.connect(dsn) as connection:
        log = connection.execute(fix_liquibase.CHANGELOG_TABLE).fetchall()
    return fix_liquibase.dump(dsn, bin_dir), log


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    fix_liquibase.found()
    store = Changelogs(tmp_path_factory.mktemp("store"), Path("/"))
    store.without_pool()
    yield store
    store.close()
    assert store.jvms() == []


@pytest.fixture
def lb(shared, tmp_path):
    shared.directory = tmp_path
    yield shared
    assert len(shared.jvms()) <= 1, "more than one waits for the next job"


def write(directory, **files):
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))


def formatted(*changesets):
    """Return a changelog in SQL: pairs of an id, which may have attributes, and SQL."""
    lines = ["--liquibase formatted sql"]
    for name, sql in changesets:
        lines += [f"--changeset me:{name}", sql]
    return "\n".join(lines) + "\n"


XML = """\
    <?xml version="1.0" encoding="UTF-8"?>
    <databaseChangeLog xmlns="http://www.liquibase.org/xml/ns/dbchangelog"
        xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
        xsi:schemaLocation="http://www.liquibase.org/xml/ns/dbchangelog
            http://www.liquibase.org/xml/ns/dbchangelog/dbchangelog-latest.xsd">
    %s
    </databaseChangeLog>
"""


def xml(body):
    return dedent(XML) % dedent(body)


def all_formats(directory):
    """Write a changelog of every format and of most features; return its name."""
    write(
        directory,
        main_xml=xml(
            """
            <property name="owner" value="us"/>
            <include file="parts/tables.yaml"/>
            <include file="parts/more.json"/>
            <includeAll path="parts/sql"/>
            <changeSet id="guarded" author="me">
              <preConditions onFail="MARK_RAN"><tableExists tableName="nowhere"/></preConditions>
              <dropTable tableName="nowhere"/>
            </changeSet>
            <changeSet id="skipped" author="me">
              <preConditions onFail="CONTINUE"><tableExists tableName="nowhere"/></preConditions>
              <dropTable tableName="nowhere"/>
            </changeSet>
            <changeSet id="always" author="me" runAlways="true">
              <sql>insert into log (what) values ('always by ${owner}')</sql>
            </changeSet>
            <changeSet id="data" author="me">
              <loadData file="parts/people.csv" tableName="person"/>
            </changeSet>
            <changeSet id="file" author="me" runOnChange="true">
              <sqlFile path="parts/file.sql"/>
            </changeSet>
            <changeSet id="concurrently" author="me" runInTransaction="false">
              <sql>create index concurrently person_name on person (name)</sql>
            </changeSet>
            <changeSet id="tagged" author="me"><tagDatabase tag="v1"/></changeSet>
            <changeSet id="dev" author="me" context="dev" labels="extra">
              <sql>insert into log (what) values ('dev')</sql>
            </changeSet>
            <changeSet id="prod" author="me" context="prod">
              <sql>insert into log (what) values ('prod')</sql>
            </changeSet>
            """
        ),
        parts__people_csv="id,name\n1,Ada\n2,Grace  Hopper\n",
        parts__file_sql="insert into log (what) values ('file by ${owner}, for ${who}');\n",
        parts__sql__b_sql=formatted(("b", "insert into log (what) values ('b');")),
        parts__sql__a_sql=formatted(
            ("a", "create table log (id serial, what text); insert into log (what) values ('a')"),
            (
                "fn splitStatements:false",
                "create function f() returns int language sql as 'select 1;'",
            ),
        ),
        parts__tables_yaml="""\
            databaseChangeLog:
              - changeSet:
                  id: person
                  author: me
                  comment: people
                  changes:
                    - createTable:
                        tableName: person
                        columns:
                          - column: {name: id, type: int, constraints: {primaryKey: true}}
                          - column: {name: name, type: varchar(50)}
            """,
        parts__more_json="""\
            {"databaseChangeLog": [{"changeSet": {"id": "email", "author": "me", "changes": [
              {"addColumn": {"tableName": "person", "columns": [
                {"column": {"name": "email", "type": "varchar(80)"}}]}}]}}]}
            """,
    )
    return ["update", "--changelog-file", "main.xml", "--contexts", "dev", "-Dwho=you"]


def test_all_formats_are_as_plain_liquibase_makes_them(lb):
    args = all_formats(lb.directory)
    plain = lb.plainly(*args)
    first = lb.lb(*args)
    assert first.status == "succeeded", first.error
    tasks = [t for t in lb.store.jobs.tasks(first.job_id) if t.type == "state_execute"]
    assert [task.changeset_id for task in tasks] == [
        *("person", "email", "a", "fn", "b", "guarded", "skipped", "always", "data", "file"),
        *("concurrently", "tagged", "dev"),
    ]
    assert tasks[0].changeset_path == "parts/tables.yaml"
    assert tasks[0].args_summary == "person::me::parts/tables.yaml"
    lb.assert_same(first.result, plain)
    second = lb.lb(*args)
    assert all(lb.cached(second.job_id))
    lb.assert_same(second.result, plain)
    assert first.result["state_id"] == second.result["state_id"]
    assert not any("reading the changelog" in line for line in lb.logs(second.job_id))


def what_counts(directory):
    """Write a changelog with everything that matters to counting changesets; return its name."""
    write(
        directory,
        main_xml=xml(
            """
            <changeSet id="log" author="me"><sql>create table log (what text)</sql></changeSet>
            <changeSet id="guarded" author="me">
              <preConditions onFail="MARK_RAN"><tableExists tableName="nowhere"/></preConditions>
              <dropTable tableName="nowhere"/>
            </changeSet>
            <changeSet id="skipped" author="me">
              <preConditions onFail="CONTINUE"><tableExists tableName="nowhere"/></preConditions>
              <dropTable tableName="nowhere"/>
            </changeSet>
            <changeSet id="always" author="me" runAlways="true">
              <sql>insert into log (what) values ('always')</sql>
            </changeSet>
            <changeSet id="prod" author="me" context="prod">
              <sql>insert into log (what) values ('prod')</sql>
            </changeSet>
            <changeSet id="concurrently" author="me" runInTransaction="false">
              <sql>create index concurrently log_what on log (what)</sql>
            </changeSet>
            <changeSet id="tagged" author="me"><tagDatabase tag="v1"/></changeSet>
            """
        ),
    )
    return ["update", "--changelog-file", "main.xml", "--contexts", "dev"]


def test_the_command_line_makes_the_same_states(lb, tmp_path_factory):
    args = what_counts(lb.directory)
    planned = lb.lb(*args, plan_only=True)
    ids = [task.output_state_id for task in lb.store.jobs.tasks(planned.job_id)]
    other = Changelogs(tmp_path_factory.mktemp("other"), lb.directory)
    try:
        other.without_pool()
        other.engine.config.set("liquibase.mode", "command")
        job = other.lb(*args)
        assert job.status == "succeeded", job.error
        assert [task.output_state_id for task in other.store.jobs.tasks(job.job_id)] == ids
        assert not any(other.cached(job.job_id))
        other.assert_same(job.result, other.plainly(*args))
    finally:
        other.close()


def test_a_moved_checkout_comes_to_the_same_states(lb):
    def planned(directory):
        args = all_formats(directory)
        job = lb.lb(*args, plan_only=True, work_dir=str(directory))
        return [task.output_state_id for task in lb.store.jobs.tasks(job.job_id)]

    assert planned(lb.directory / "here") == planned(lb.directory / "elsewhere")


def test_a_cached_changelog_needs_neither_a_jvm_nor_a_cluster(lb):
    write(lb.directory, c_sql=formatted(("1", "create table quick (id int);")))
    args = ["update", "--changelog-file=c.sql"]
    first = lb.made(*args)
    began = time.monotonic()
    job = lb.lb(*args, plan_only=True)
    assert lb.cached(job.job_id) == [True]
    assert not any("liquibase" in line for line in lb.logs(job.job_id)), time.monotonic() - began
    # Not even after a restart of the engine: what was read is kept in files.
    other = lb.lb("--changelog-file", str(lb.directory / "c.sql"), "update")
    assert other.result["state_id"] == first["state_id"]


def test_editing_reordering_and_deleting_changesets_keeps_the_states_before(lb):
    one, two, three = (
        ("1", "create table one (id int);"),
        ("2", "create table two (id int);"),
        ("3", "create table three (id int);"),
    )
    args = ["update", "--changelog-file", "c.sql"]

    def cached(*changesets):
        write(lb.directory, c_sql=formatted(*changesets))
        job = lb.lb(*args)
        assert job.status == "succeeded", job.error
        lb.assert_same(job.result, lb.plainly(*args))
        return lb.cached(job.job_id)

    assert cached(one, two) == [False, False]
    assert cached(one, two, three) == [True, True, False]
    assert cached(one, two, ("3", "create table three (id bigint);")) == [True, True, False]
    assert cached(one, ("2", "create table two (id bigint);"), three) == [True, False, False]
    assert cached(two, one, three) == [False, False, False]
    assert cached(one, three) == [True, False]
    assert cached(one, two, three) == [True, True, True]
    # White space in a string is none to Liquibase's checksum, but it is to the database.
    assert cached(one, ("2", "create table two (t text default 'a b');")) == [True, False]
    assert cached(one, ("2", "create table two (t text default 'a  b');")) == [True, False]


def test_data_files_sql_files_and_preconditions_count(lb, monkeypatch):
    monkeypatch.setattr(stretch, "PAYS", 0)  # each changeset gets a state
    write(
        lb.directory,
        c_xml=xml(
            """
            <changeSet id="1" author="me"><createTable tableName="a"><column name="id" type="int"/>
            </createTable></changeSet>
            <changeSet id="2" author="me"><loadData file="a.csv" tableName="a"/></changeSet>
            <changeSet id="3" author="me"><sqlFile path="a.sql"/></changeSet>
            <changeSet id="4" author="me"><preConditions onFail="MARK_RAN">
            <sqlCheck expectedResult="1">select 1</sqlCheck></preConditions>
            <sql>insert into a values (4)</sql></changeSet>
            """
        ),
        a_csv="id\n1\n",
        a_sql="insert into a values (${x});\n",
    )
    args = ["update", "--changelog-file", "c.xml"]
    assert lb.cached_after(*args, "-Dx=7") == [False] * 4
    assert lb.cached_after(*args, "-Dx=7", "-Dunused=1") == [True] * 4
    assert lb.cached_after(*args, "-Dx=8") == [True, True, False, False]
    write(lb.directory, a_csv="id\n2\n")
    assert lb.cached_after(*args, "-Dx=7") == [True, False, False, False]
    text = (lb.directory / "c.xml").read_text()
    (lb.directory / "c.xml").write_text(text.replace(">select 1<", ">select 0<"))
    assert lb.cached_after(*args, "-Dx=7") == [True, True, True, False]
    (lb.directory / "c.xml").write_text(text.replace("author", 'labels="z" author', 1))
    # A label is stored in the database, so it makes another state.
    assert lb.cached_after(*args, "-Dx=7") == [False] * 4


def test_parameters_count_wherever_they_are_used(lb):
    write(
        lb.directory,
        c_xml=xml(
            """
            <preConditions><changeLogPropertyDefined property="who" value="me"/></preConditions>
            <changeSet id="1" author="me"><sqlFile path="a b/wide.sql" encoding="UTF-16LE"/>
            </changeSet>
            <changeSet id="2" author="me"><sqlFile path="a b/name.sql"/></changeSet>
            """
        ),
        **{"a b__name_sql": "create table named as select '${größe}' as n;\n"},
    )
    wide = "create table wide as select '${a}' as a;\n"
    (lb.directory / "a b" / "wide.sql").write_bytes(wide.encode("utf-16-le"))
    args = ["update", "--changelog-file", "c.xml"]
    given = ["-Dwho=me", "-Da=${b}", "-Db=1", "-Dgröße=5"]
    result = lb.made(*args, *given)
    lb.assert_same(result, lb.plainly(*args, *given))
    assert lb.cached_after(*args, *given) == [True, True]
    assert lb.cached_after(*args, "-Dwho=me", "-Da=${b}", "-Db=1", "-Dgröße=6") == [True, False]
    assert lb.cached_after(*args, "-Dwho=me", "-Da=${b}", "-Db=2", "-Dgröße=5") == [False, False]
    assert "who" in lb.failed(*args, "-Dwho=you", *given[1:])["details"]


def test_the_time_zone_counts(lb):
    sql = "create table z as select timestamptz '2024-01-01 00:00' as at;"
    write(lb.directory, c_sql=formatted(("1", sql)))
    args = ["update", "--changelog-file", "c.sql"]
    west = lb.made(*args, liquibase_env={"TZ": "UTC"})
    east = lb.made(*args, liquibase_env={"TZ": "Asia/Tokyo"})
    hours = "select extract(hour from at at time zone 'UTC')::int from z"
    assert (query(west, hours), query(east, hours)) == (0, 15)


def test_files_named_by_columns_count(lb):
    write(
        lb.directory,
        c_xml=xml(
            """
            <changeSet id="1" author="me">
              <createTable tableName="t"><column name="c" type="clob"/></createTable>
              <insert tableName="t"><column name="c" valueClobFile="a.txt"/></insert>
            </changeSet>
            """
        ),
        a_txt="one",
    )
    args = ["update", "--changelog-file", "c.xml"]
    assert query(lb.made(*args), "select c from t") == "one"
    write(lb.directory, a_txt="two")
    assert query(lb.made(*args), "select c from t") == "two"


def test_parameters_in_where_clauses_count(lb):
    body = """
        <changeSet id="1" author="me"><sql>create table t as select 1 as a, 1 as b
          union select 2, 2</sql></changeSet>
        <changeSet id="2" author="me"><update tableName="t"><column name="b" valueNumeric="9"/>
          <where>:name = :value</where>
          <whereParams><param name="a" valueNumeric="%s"/></whereParams></update></changeSet>
    """
    args = ["update", "--changelog-file", "c.xml"]
    for a in 1, 2:
        write(lb.directory, c_xml=xml(body % a))
        assert query(lb.made(*args), "select a from t where b = 9") == a


DATA = """
    <changeSet id="1" author="me"><createTable tableName="t">
      <column name="id" type="int"/><column name="text" type="clob"/>
      <column name="bytes" type="bytea"/><column name="other" type="clob"/></createTable>
    </changeSet>
    <changeSet id="2" author="me"><loadData tableName="t" file="data/t.csv">%s</loadData>
    </changeSet>
    <changeSet id="3" author="me"><insert tableName="t">
      <column name="other" valueClobFile="a.txt"/></insert></changeSet>
"""
TYPED = """
    <column name="id" type="numeric"/><column name="text" type="clob"/>
    <column name="bytes" type="blob"/>
"""


@pytest.mark.parametrize(
    ("columns", "data"),
    [
        (TYPED, "id,text,bytes\n1,a.txt,data/b.txt\n2,NULL,NULL\n"),
        ("", "id,text\n1,a.txt\n2,data/b.txt\n3,NULL\n"),
    ],
    ids=["typed", "untyped"],
)
def test_files_named_by_cells_of_data_count(lb, columns, data):
    """A cell of a CLOB or BLOB column is a file; a later changeset reads one of them too."""
    write(
        lb.directory, c_xml=xml(DATA % columns), data__t_csv=data, a_txt="one", data__b_txt="bytes"
    )
    args = ["update", "--changelog-file", "c.xml"]

    def changed(**files):
        write(lb.directory, **files)
        job = lb.lb(*args)
        assert job.status == "succeeded", job.error
        lb.assert_same(job.result, lb.plainly(*args))
        return lb.cached(job.job_id)

    assert changed()[1:] == [False, False]
    assert changed(data__b_txt="other") == [True, False, False]
    assert changed(a_txt="two") == [True, False, False]
    assert changed() == [True, True, True]


def test_data_that_names_a_file_that_is_not_there_yet(lb):
    write(lb.directory, c_xml=xml(DATA % ""), data__t_csv="id,text\n1,b.txt\n", a_txt="one")
    args = ["update", "--changelog-file", "c.xml"]
    assert "b.txt" in lb.failed(*args)["details"]
    write(lb.directory, b_txt="two")
    assert query(lb.made(*args), "select text from t where id = 1") == "two"


def test_compressed_data_files_count(lb):
    write(
        lb.directory,
        c_xml=xml(
            """
            <changeSet id="1" author="me"><createTable tableName="p">
              <column name="id" type="int"/><column name="who" type="varchar(9)"/></createTable>
            </changeSet>
            <changeSet id="2" author="me"><loadData tableName="p" file="p.csv.gz"/></changeSet>
            <changeSet id="3" author="me"><sqlFile path="p.sql.gz"/></changeSet>
            """
        ),
    )
    (lb.directory / "p.sql.gz").write_bytes(gzip.compress(b"insert into p values (9, '${who}');"))
    args = ["update", "--changelog-file", "c.xml"]
    for number in 1, 2:
        (lb.directory / "p.csv.gz").write_bytes(gzip.compress(f"id,who\n{number},x\n".encode()))
        result = lb.made(*args, "-Dwho=you")
        lb.assert_same(result, lb.plainly(*args, "-Dwho=you"))
        assert query(result, "select min(id) from p") == number
    assert lb.cached_after(*args, "-Dwho=you") == [True] * 3
    assert lb.cached_after(*args, "-Dwho=me") == [True, True, False]


def test_a_changeset_of_hundreds_of_kilobytes(lb):
    values = ", ".join(f"('{'é' * 100}')" for _ in range(4000))
    write(lb.directory, c_sql=formatted(("1", f"create table l as values {values};")))
    result = lb.made("update", "--changelog-file", "c.sql")
    assert query(result, "select count(*) from l") == 4000


def test_the_role_reaches_the_next_changeset(lb):
    changesets = [
        ("1", "create role worker superuser; set role worker;"),
        ("2", "create table made as select current_user::text as by;"),
    ]
    for count in (1, 2):
        write(lb.directory, c_sql=formatted(*changesets[:count]))
        result = lb.made("update", "--changelog-file", "c.sql")
    lb.assert_same(result, lb.plainly("update", "--changelog-file", "c.sql"))
    assert query(result, "select by from made") == "worker"


def test_a_driver_of_the_defaults_file(lb):
    write(lb.directory, c_sql=formatted(("1", "select 1;")), liquibase_properties="driver=x.Y\n")
    error = lb.failed("update", "--changelog-file", "c.sql")
    assert "driver is not allowed" in error["details"]


def test_a_defaults_file_of_the_environment(lb):
    write(
        lb.directory,
        c_sql=formatted(("1", "create table d as select '${who}' as who;")),
        dev_properties="parameter.who: one\n",
    )
    fields = {"liquibase_env": {"LIQUIBASE_DEFAULTS_FILE": "dev.properties"}}
    args = ["update", "--changelog-file", "c.sql"]
    assert query(lb.made(*args, **fields), "select who from d") == "one"
    write(lb.directory, dev_properties="parameter.who: two\n")
    assert query(lb.made(*args, **fields), "select who from d") == "two"


def test_invalid_environment_variables_are_refused(lb):
    for name, value in (("A=B", "x"), ("", "x"), ("A", "x\0")):
        with pytest.raises(InvalidArgument):
            lb.submit_lb("update", liquibase_env={name: value})


def test_parameters_and_contexts_of_a_defaults_file(lb):
    write(
        lb.directory,
        c_sql=formatted(
            ("1", "create table d as select '${who}' as who;"), ("2 context:x", "select 1;")
        ),
        defaults_properties="changelog-file: c.sql\nparameter.who: file\ncontexts: y\n",
    )
    args = ["--defaults-file", "defaults.properties", "update"]
    result = lb.made(*args)
    assert query(result, "select who from d") == "file"
    assert query(result, "select count(*) from databasechangelog") == 1
    assert lb.cached_after(*args) == [True]
    write(lb.directory, defaults_properties="changelog-file: c.sql\nparameter.who: other\n")
    result = lb.made(*args)
    assert query(result, "select who from d") == "other"
    assert query(result, "select count(*) from databasechangelog") == 2


def test_search_paths_of_the_arguments_are_followed(lb):
    write(
        lb.directory,
        one__main_xml=xml('<include file="sub.sql"/>'),
        two__sub_sql=formatted(("1", "create table s as select 'two' as which;")),
    )
    for args in (
        ["--searchPath", "one,two", "--changelog-file", "main.xml", "update"],
        ["update", f"--search-path={lb.directory}/one,two", "--changelogFile=main.xml"],
    ):
        result = lb.made(*args)
        assert query(result, "select which from s") == "two"
        assert query(result, "select filename from databasechangelog") == "sub.sql"
    # A file that now comes first is another changelog, although nothing read has changed.
    write(lb.directory, one__sub_sql=formatted(("1", "create table s as select 'one' as which;")))
    error = lb.failed(*args)
    assert error["code"] == "step_failed"
    assert "sub.sql" in error["details"]


def test_update_count_and_update_to_tag_stop_where_they_say(lb):
    write(
        lb.directory,
        c_xml=xml(
            """
            <changeSet id="1" author="me"><sql>create table one ()</sql></changeSet>
            <changeSet id="2" author="me"><tagDatabase tag="v1"/></changeSet>
            <changeSet id="3" author="me"><sql>create table three ()</sql></changeSet>
            """
        ),
    )
    for args, count in (
        (["update-count", "--count", "1"], 1),
        (["updateCount", "--count=2"], 2),
        (["update-to-tag", "--tag=v1"], 2),
        (["update"], 3),
    ):
        result = lb.made("--changelog-file", "c.xml", *args)
        assert query(result, "select count(*) from databasechangelog") == count
        lb.assert_same(result, lb.plainly("--changelog-file", "c.xml", *args))


def test_session_settings_reach_the_next_changeset(lb):
    changesets = [
        ("1", "create schema other; set search_path = other, public; set work_mem = '7MB';"),
        ("2", "create table placed as select current_setting('work_mem') as mem;"),
        ("3", "create table later (id int);"),
    ]
    args = ["update", "--changelog-file", "c.sql"]
    for count in (1, 2, 3):  # each time from the state of the one before
        write(lb.directory, c_sql=formatted(*changesets[:count]))
        result = lb.made(*args)
        lb.assert_same(result, lb.plainly(*args))
    assert query(result, "select mem from placed") == "7MB"


def test_session_state_beyond_settings_reaches_the_next_changeset(lb):
    """Each changeset is prepared from the state of the one before, and compared with plain."""
    changesets = [
        (
            "1",
            "create table s (id serial, n int); create table z (id serial);"
            " insert into s (n) values (7), (8); insert into z default values;"
            """ set "app.user" = 'ann'; select set_config('app.place', 'here', false);"""
            " alter database postgres set work_mem = '9MB';"
            " alter role sqlrs set app.later = 'not yet';",
        ),
        (
            "2",
            "create table seen as select currval('s_id_seq') as cur, lastval() as last,"
            " current_setting('app.user') as who, current_setting('app.place') as place,"
            " current_setting('work_mem') as mem,"
            " coalesce(current_setting('app.later', true), '') as later;",
        ),
        (
            "3",
            "create table again as select currval('s_id_seq') as cur, lastval() as last,"
            " current_setting('app.user') as who; insert into s (n) values (9);",
        ),
    ]
    args = ["update", "--changelog-file", "c.sql"]
    for count in (1, 2, 3):
        write(lb.directory, c_sql=formatted(*changesets[:count]))
        result = lb.made(*args)
    lb.assert_same(result, lb.plainly(*args))
    assert query(result, "select who from again") == "ann"


def test_a_setting_whose_name_is_not_written_out_fails(lb):
    dynamic = "select set_config('app.' || 'user', 'ann', %s);"
    args = ["update", "--changelog-file", "c.sql"]
    write(lb.directory, c_sql=formatted(("1", dynamic % "true")))
    lb.made(*args)
    write(lb.directory, c_sql=formatted(("1", dynamic % "false")))
    details = lb.failed(*args)["details"]
    assert details.startswith("changeset 1::me::c.sql: ")
    assert "Write the name as a literal" in details


def test_a_rollback_alone_runs_nothing_again(lb):
    body = """
        <changeSet id="1" author="me"><sql>create table r ()</sql>%s</changeSet>
        <changeSet id="2" author="me"><sql>select 1</sql></changeSet>
    """
    args = ["update", "--changelog-file", "c.xml"]
    write(lb.directory, c_xml=xml(body % ""))
    lb.made(*args)
    for rollback in "<rollback/>", "<rollback>drop table r</rollback>":
        write(lb.directory, c_xml=xml(body % rollback))
        assert lb.cached_after(*args) == [True, True]


def test_files_whose_names_differ_by_case(lb):
    write(
        lb.directory,
        c_xml=xml('<include file="a.sql"/><include file="A.sql"/><include file="b.sql"/>'),
        a_sql=formatted(("1", "create table one ();")),
        b_sql=formatted(("1", "create table three ();")),
    )
    (lb.directory / "A.sql").write_text(formatted(("1", "create table two ();")))
    args = ["update", "--changelog-file", "c.xml"]
    lb.assert_same(lb.made(*args), lb.plainly(*args))


def test_a_missing_class_says_where_jars_go(lb):
    write(
        lb.directory,
        c_xml=xml(
            '<changeSet id="1" author="me"><customChange class="no.such.Change"/></changeSet>'
        ),
    )
    details = lb.failed("update", "--changelog-file", "c.xml")["details"]
    assert "no.such.Change" in details
    assert str(fix_liquibase.found().home / "lib") in details


def test_a_changelog_without_changesets(lb):
    write(lb.directory, c_xml=xml(""))
    args = ["update", "--changelog-file", "c.xml"]
    result = lb.made(*args)
    lb.assert_same(result, lb.plainly(*args))
    assert lb.made(*args)["state_id"] == result["state_id"]


def test_changelog_preconditions_are_of_a_new_database(lb):
    guard = '<preConditions><not><tableExists tableName="one"/></not></preConditions>'
    body = '<changeSet id="%s" author="me"><sql>create table %s ()</sql></changeSet>'
    args = ["update", "--changelog-file", "c.xml"]
    write(lb.directory, c_xml=xml(guard + body % (1, "one")))
    lb.made(*args)
    write(lb.directory, c_xml=xml(guard + body % (1, "one") + body % (2, "two")))
    job = lb.lb(*args)
    assert lb.cached(job.job_id) == [True, False]
    lb.assert_same(job.result, lb.plainly(*args))
    write(lb.directory, c_xml=xml(guard.replace("not>", "and>") + body % (1, "one")))
    assert "tableExists" in lb.failed(*args)["details"] or "one" in lb.failed(*args)["details"]


def test_a_failing_changeset_caches_what_came_before(lb):
    good, bad = ("1", "create table fine (id int);"), ("2", "insert into nothing values (1);")
    write(lb.directory, c_sql=formatted(good, bad))
    args = ["update", "--changelog-file", "c.sql"]
    error = lb.failed(*args)
    assert error["code"] == "step_failed"
    assert "2::me::c.sql" in error["details"]
    assert 'relation "nothing" does not exist' in error["details"]
    write(lb.directory, c_sql=formatted(good, ("2", "insert into fine values (1);")))
    assert lb.cached_after(*args) == [True, False]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("<databaseChangeLog", "c.xml"),
        (xml('<changeSet id="1" author="me"><noSuchChange/></changeSet>'), "noSuchChange"),
        (xml('<changeSet id="1" author="me"><dropTable/></changeSet>'), "tableName"),
        (xml('<include file="missing.xml"/>'), "missing.xml"),
        (
            xml('<changeSet id="1" author="me"><sql>select 1</sql></changeSet>' * 2),
            "duplicate identifiers",
        ),
    ],
)
def test_a_broken_changelog_is_a_failed_job(lb, text, told):
    (lb.directory / "c.xml").write_text(text)
    error = lb.failed("update", "--changelog-file", "c.xml")
    assert error["code"] == "step_failed"
    assert told in error["details"]


def test_a_file_that_changes_while_the_job_runs_is_a_conflict(lb):
    write(
        lb.directory,
        c_sql=formatted(("1", "create table slow (); select pg_sleep(2);"), ("2", "select 1;")),
    )
    before = lb.states()
    job_id = lb.submit_lb("update", "--changelog-file", "c.sql")
    lb.until_logged(job_id, "start 1::me")
    write(lb.directory, c_sql=formatted(("1", "create table other ();")))
    job = lb.wait(job_id)
    assert job.error["code"] == "conflict"
    assert lb.states() == before


def test_cancelling_ends_liquibase(lb):
    write(lb.directory, c_sql=formatted(("1", "select pg_sleep(600);")))
    job_id = lb.submit_lb("update", "--changelog-file", "c.sql")
    lb.until_logged(job_id, "Running Changeset")
    lb.engine.prepare.cancel(job_id)
    assert lb.wait(job_id).error["code"] == "cancelled"
    assert lb.jvms() == []
    assert lb.workspaces() == []


def test_a_liquibase_that_dies_is_a_failed_job(lb):
    write(lb.directory, c_sql=formatted(("1", "select pg_sleep(600);")))
    job_id = lb.submit_lb("update", "--changelog-file", "c.sql")
    lb.until_logged(job_id, "Running Changeset")
    for pid in lb.jvms():
        psutil.Process(pid).kill()
    error = lb.wait(job_id).error
    assert (error["code"], error["message"]) == (
        "step_failed",
        "Liquibase ended unexpectedly: prepare again",
    )
    assert lb.workspaces() == []


def test_explain_says_which_changeset_is_new(lb):
    write(lb.directory, c_sql=formatted(("1", "create table e ();"), ("2", "select 1;")))
    args = ("update", "--changelog-file", "c.sql")
    lb.made(*args)
    request = single_stage(
        prepare_kind="lb", image_id=IMAGE, liquibase_args=args, work_dir=str(lb.directory)
    )
    assert lb.engine.services.cache.explain(request)["decision"] == "hit"
    write(lb.directory, c_sql=formatted(("1", "create table e ();"), ("2", "select 2;")))
    told = lb.engine.services.cache.explain(request)
    assert told["decision"] == "miss"
    assert told["missing_steps"] == 1
    assert told["changes"] == [{"kind": "changeset", "name": "2::me::c.sql", "step": 1}]


@pytest.mark.slow
def test_any_sequence_of_edits_makes_what_plain_liquibase_makes(lb):
    names = iter(range(1000))

    def changeset():
        name = f"n{next(names)}"
        kind = random.choice(
            ["", " runAlways:true", " runOnChange:true", " runInTransaction:false"]
        )
        sql = random.choice(
            [
                f"create table {name} (t text default '{' ' * random.randrange(3)}');",
                "insert into base select count(*) from pg_tables;",
                f"alter table base add column {name} int default {random.randrange(9)};",
            ]
        )
        return name + kind, sql

    changesets = [("base", "create table base (n int);")] + [changeset() for _ in range(3)]
    args = ["update", "--changelog-file", "c.sql"]
    edits = random.sample(["append", "edit", "insert", "delete", "shuffle"], 5)
    for edit in [None, *edits]:
        place = random.randrange(1, len(changesets))
        match edit:
            case "append":
                changesets.append(changeset())
            case "edit":
                changesets[place] = (changesets[place][0], changeset()[1])
            case "insert":
                changesets.insert(place, changeset())
            case "delete":
                del changesets[place]
            case "shuffle":
                changesets[1:] = random.sample(changesets[1:], len(changesets) - 1)
        write(lb.directory, c_sql=formatted(*changesets))
        lb.assert_same(lb.made(*args), lb.plainly(*args))


def test_a_file_that_a_changeset_reads_on_the_server_counts(lb):
    """Only what is seen while Liquibase runs tells of it."""
    with tempfile.TemporaryDirectory(prefix="observed-") as directory:
        root = Path(directory)
        root.chmod(0o755)
        (root / "note.txt").write_text("one")
        (root / "changelog.sql").write_text(
            "--liquibase formatted sql\n"
            "--changeset a:1\n"
            f"create table note as select pg_read_file('{root}/note.txt') as text;\n"
            "--changeset a:2\n"
            "create table later (n int);\n"
        )
        args = ("update", "--changelog-file=changelog.sql")
        first = lb.made(*args, work_dir=directory)
        assert lb.cached_after(*args, work_dir=directory) == [True, True]
        (root / "note.txt").write_text("two")
        second = lb.made(*args, work_dir=directory)
        assert second["state_id"] != first["state_id"]
        assert query(second, "select text from note") == "two"
        (root / "note.txt").write_text("one")
        assert lb.cached_after(*args, work_dir=directory) == [True, True]
