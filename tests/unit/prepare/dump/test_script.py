import pytest

from sqlrs_engine.errors import DumpUnusable
from sqlrs_engine.prepare.dump import script
from sqlrs_engine.prepare.dump.script import Script


class Cluster:
    """The roles of a cluster, as a script sees them."""

    def __init__(self, *present):
        self.present = frozenset({"sqlrs", "postgres", *present})
        self.needed = []
        self.made_by_dump = []
        self.log = []

    def need(self, names):
        self.needed += names

    def will_exist(self, name):
        self.made_by_dump.append(name)


@pytest.fixture
def cluster():
    return Cluster()


def run(text, cluster, *, major=17, piece=None):
    raw = text.encode()
    script = Script(cluster, major, cluster.log.append)
    size = piece or max(len(raw), 1)
    pieces = [raw[at : at + size] for at in range(0, len(raw), size)]
    return b"".join(script.edited(pieces)).decode(), script


DUMP = r"""--
-- PostgreSQL database dump
--

\restrict abc

SET transaction_timeout = 0;

--
-- Name: app; Type: SCHEMA; Schema: -; Owner: boss
--

CREATE SCHEMA app;
ALTER SCHEMA app OWNER TO boss;

--
-- Name: f(); Type: FUNCTION; Schema: app; Owner: boss
--

CREATE FUNCTION app.f() RETURNS void
    LANGUAGE plpgsql
    AS $_$
begin
GRANT ALL ON x TO nobody1;
end $_$;

CREATE FUNCTION app.g() RETURNS int LANGUAGE sql
    AS $$select 1$$;

DO $do$
GRANT ALL ON x TO nobody2;
$do$;

--
-- Data for Name: t; Type: TABLE DATA; Schema: app; Owner: boss
--

COPY app.t (a, b) FROM stdin;
1	GRANT ALL
GRANT ALL ON x TO nobody3;
\\.
$$
\.

COPY app.u (a) FROM stdin;
\.

GRANT SELECT ON TABLE app.t TO reader;

--
-- PostgreSQL database dump complete
--

"""


@pytest.mark.parametrize("piece", [None, 1, 7, 100])
def test_a_dump_runs_as_it_is_and_its_roles_are_made(cluster, piece):
    text, script = run(DUMP, cluster, piece=piece)
    assert text == DUMP
    assert cluster.needed == ["boss", "reader"]
    assert cluster.log == []
    assert script.objects == 3
    script.check_complete()


@pytest.mark.parametrize("piece", [None, 1, 7, 100])
def test_an_object_is_found_by_the_line(cluster, piece):
    _, script = run(DUMP, cluster, piece=piece)
    lines = DUMP.splitlines()
    assert script.object_at(1) is None
    assert script.object_at(lines.index("CREATE SCHEMA app;") + 1) == "SCHEMA app"
    assert script.object_at(lines.index("    AS $_$") + 1) == "FUNCTION app.f()"
    assert script.object_at(lines.index("\\\\.") + 1) == "TABLE DATA app.t"


@pytest.mark.parametrize("piece", [None, 1])
def test_windows_line_ends(cluster, piece):
    text = DUMP.replace("\n", "\r\n")
    ran, script = run(text, cluster, piece=piece)
    assert ran == text
    assert cluster.needed == ["boss", "reader"]
    script.check_complete()


def test_older_servers_do_not_get_the_timeout(cluster):
    text, _ = run(DUMP, cluster, major=16)
    assert text == DUMP.replace("SET transaction_timeout = 0;", "--")
    assert cluster.log == ["left out SET transaction_timeout, which this PostgreSQL lacks"]


def test_roles_that_exist_are_not_created_again():
    cluster = Cluster("app")
    text, _ = run(
        "DROP ROLE IF EXISTS postgres;\nDROP ROLE app;\nCREATE ROLE postgres;\n"
        "ALTER ROLE postgres WITH LOGIN;\nCREATE ROLE app;\nCREATE ROLE new;\n"
        'ALTER ROLE new WITH LOGIN;\nCREATE ROLE "sqlrs";\nALTER ROLE sqlrs WITH NOLOGIN;\n',
        cluster,
    )
    assert text == (
        "--\nDROP ROLE app;\n--\nALTER ROLE postgres WITH LOGIN;\n--\nCREATE ROLE new;\n"
        "ALTER ROLE new WITH LOGIN;\n--\n--\n"
    )
    assert cluster.made_by_dump == ["new"]
    assert cluster.log == [
        "left out DROP ROLE postgres: the role exists in every state",
        "left out CREATE ROLE postgres: the role exists",
        "left out CREATE ROLE app: the role exists",
        "left out CREATE ROLE sqlrs: the role is the engine's own",
        "left out ALTER ROLE sqlrs: the role is the engine's own",
    ]


def test_the_last_line_may_lack_its_end(cluster):
    text, _ = run("select 1;\nCREATE ROLE postgres;", cluster)
    assert text == "select 1;\n--"


@pytest.mark.parametrize(
    "end",
    ["\nCOPY app.u (a) FROM stdin;\n", "    AS $_$\n", "SET transaction_timeout", "GRANT SELECT"],
)
def test_a_dump_that_ends_too_early_is_noticed(cluster, end):
    _, script = run(DUMP[: DUMP.index(end) + len(end)], cluster)
    with pytest.raises(DumpUnusable, match="ends too early"):
        script.check_complete()


def test_a_script_without_the_lines_of_pg_dump_is_complete(cluster):
    _, script = run("select 1;\n", cluster)
    script.check_complete()


def test_a_line_that_no_server_reads_does_not_fill_the_memory(cluster, monkeypatch):
    monkeypatch.setattr(script, "_LONGEST_LINE", 100)
    run("x" * 90 + "\n" + "y" * 90, cluster, piece=10)
    with pytest.raises(DumpUnusable) as error:
        run("x" * 200, cluster, piece=10)
    assert "1 GiB" in error.value.details
