from sqlrs_engine.prepare.dump.archive import Entry
from sqlrs_engine.prepare.dump.options import RestoreOptions
from sqlrs_engine.prepare.dump.parts import Part, parts

NONE = RestoreOptions()
PASSED_ON = "SET SESSION AUTHORIZATION boss;\nGRANT ALL ON t TO x;\nRESET SESSION AUTHORIZATION;\n"


def entry(number, kind, definition="", name="t"):
    return Entry(
        number=number,
        kind=kind,
        name=name,
        schema="s",
        owner="",
        definition=definition,
        file="",
    )


def test_one_run_restores_what_does_not_pass_privileges_on():
    entries = [entry(1, "TABLE"), entry(2, "ACL", "GRANT ALL ON t TO x;")]
    assert parts(entries, NONE, 4) == [Part(jobs=4)]


def test_privileges_that_are_passed_on_are_granted_in_order_after_all_else():
    entries = [
        entry(1, "TABLE"),
        entry(2, "ACL", PASSED_ON),
        entry(3, "MATERIALIZED VIEW DATA"),
        entry(4, "INDEX"),
        entry(5, "EVENT TRIGGER"),
        entry(6, "COMMENT", name="EVENT TRIGGER e"),
        entry(7, "COMMENT", name="TABLE t"),
    ]
    assert parts(entries, NONE, 4) == [
        Part(jobs=4, numbers=(1, 4, 7)),
        Part(jobs=1, numbers=(2, 3, 5, 6)),
    ]
    assert parts(entries, NONE, 1) == [Part(jobs=1)]
    assert parts(entries, RestoreOptions.parse(["--clean"]), 4) == [Part(jobs=1)]
