import pytest
from support.dump_archives import Item

from sqlrs_engine.prepare.dump.archive import Entry
from sqlrs_engine.prepare.dump.archive_restore import needed_roles
from sqlrs_engine.prepare.dump.options import RestoreOptions
from sqlrs_engine.prepare.dump.roles import mentioned, subject


@pytest.mark.parametrize(
    ("statement", "roles"),
    [
        ("ALTER TABLE app.t OWNER TO app_owner;", ["app_owner"]),
        ('ALTER FUNCTION app."OWNER TO x"(integer) OWNER TO "App Owner";', ["App Owner"]),
        ("ALTER LARGE OBJECT 42 OWNER TO bob;", ["bob"]),
        ("ALTER TABLE t ENABLE ROW LEVEL SECURITY;", []),
        ("GRANT SELECT ON TABLE app.t TO reader;", ["reader"]),
        ('GRANT SELECT(a),UPDATE(b) ON TABLE t TO a,"b ""c"" d";', ["a", 'b "c" d']),
        ("GRANT ALL ON SCHEMA public TO PUBLIC;", []),
        ("GRANT ALL ON TABLE t TO Reader WITH GRANT OPTION;", ["reader"]),
        ("GRANT ALL ON TABLE t TO GROUP staff;", ["staff"]),
        ("REVOKE ALL ON FUNCTION f(to_date text) FROM bob;", ["bob"]),
        ("REVOKE GRANT OPTION FOR SELECT ON TABLE t FROM bob;", ["bob"]),
        ("GRANT parents TO child WITH INHERIT TRUE GRANTED BY boss;", ["parents", "child", "boss"]),
        ("GRANT pg_read_all_data TO child;", ["child"]),
        ("GRANT ALL ON TABLE t TO CURRENT_USER;", []),
        ("CREATE POLICY p ON app.t TO a, b USING ((x > 0));", ["a", "b"]),
        ("CREATE POLICY p ON app.t FOR SELECT TO a WITH CHECK (true);", ["a"]),
        ("CREATE POLICY p ON app.t USING ((x > 0));", []),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA s GRANT ALL ON TABLES TO b;", ["a", "b"]),
        ("ALTER DEFAULT PRIVILEGES FOR ROLE a REVOKE ALL ON TABLES FROM b;", ["a", "b"]),
        ("SET SESSION AUTHORIZATION 'it''s me';", ["it's me"]),
        ("SET SESSION AUTHORIZATION bob;", ["bob"]),
        ("SET SESSION AUTHORIZATION DEFAULT;", []),
        ("SET ROLE bob;", ["bob"]),
        ("SET ROLE NONE;", []),
        ("CREATE SCHEMA app AUTHORIZATION bob;", ["bob"]),
        ("CREATE SCHEMA app;", []),
        ("CREATE USER MAPPING FOR bob SERVER s;", ["bob"]),
        ("CREATE USER MAPPING FOR PUBLIC SERVER s;", []),
        ("CREATE DATABASE x WITH TEMPLATE = template0 OWNER = bob;", ["bob"]),
        ("ALTER ROLE bob IN DATABASE x SET search_path TO 'a';", ["bob"]),
        ("CREATE TABLE t (owner text);", []),
    ],
)
def test_the_roles_that_a_statement_needs(statement, roles):
    assert list(mentioned(statement)) == roles


@pytest.mark.parametrize(
    ("statement", "role"),
    [
        ("CREATE ROLE postgres;", "postgres"),
        ('CREATE USER "App";', "App"),
        ("DROP ROLE IF EXISTS bob;", "bob"),
        ("ALTER ROLE bob WITH LOGIN;", "bob"),
        ("CREATE USER MAPPING FOR bob SERVER s;", None),
        ("DROP TABLE t;", None),
        ("ALTER TABLE t OWNER TO x;", None),
    ],
)
def test_the_role_that_a_statement_is_about(statement, role):
    assert subject(statement) == role


def entry(**fields):
    item = Item(**fields)
    return Entry(
        number=1,
        kind=item.kind,
        name=item.name,
        schema=item.schema,
        owner=item.owner,
        definition=item.definition,
        file="",
    )


def test_the_roles_of_an_archive_are_owners_and_those_of_definitions():
    entries = [
        entry(owner="app"),
        entry(
            kind="ACL", owner="app", definition="GRANT ALL ON t TO a;\nREVOKE ALL ON t FROM b;\n"
        ),
        entry(kind="FUNCTION", owner="", definition="CREATE … $$\nGRANT ALL ON t TO nobody;\n$$;"),
    ]
    assert needed_roles(entries, RestoreOptions()) == {"app", "a", "b"}
    assert needed_roles(entries, RestoreOptions.parse(["-O"])) == {"a", "b"}
