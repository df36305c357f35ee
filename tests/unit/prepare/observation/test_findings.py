"""What counts of the files that a step was seen to use."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from sqlrs_engine.prepare.observation import findings
from sqlrs_engine.prepare.observation.findings import Expectation, find
from sqlrs_engine.prepare.observation.values import ABSENT, InputValues
from sqlrs_engine.prepare.observation.watch import Sight
from sqlrs_engine.states.observed_inputs import UNSEEN
from sqlrs_engine.store.records import ObservedInput


class Seen:
    """A watch that has seen this, and that the second time it is asked."""

    def __init__(self, *sights: Sight) -> None:
        self.sights = [*sights, *sights[-1:]]

    def end(self) -> Sight:
        return self.sights.pop(0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = Path(os.path.realpath(tmp_path))
    for name in ("a.sql", "b.sql", "sub/c.sql"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(name)
    return root


def expected(root: Path, *planned: str, **known) -> Expectation:
    paths = {str(root / name) for name in planned}
    return Expectation(
        root=str(root),
        is_planned=paths.__contains__,
        values=known.get("values", {}),
        writes=known.get("writes", lambda path: False),
        overlooked=known.get("overlooked", lambda seen: None),
    )


def sight(root: Path, read: Iterable[str], rewritten: Iterable[str] = (), **more) -> Sight:
    return Sight(
        read=frozenset(str(root / name) for name in read),
        rewritten=frozenset(str(root / name) for name in rewritten),
        **more,
    )


def digest(root: Path, name: str) -> str:
    return InputValues().file(str(root / name))


def test_files_that_the_plan_does_not_name_count(root):
    found = find(Seen(sight(root, ["a.sql", "sub/c.sql"])), expected(root, "a.sql"), InputValues())
    assert found.inputs == (ObservedInput("file", "sub/c.sql", digest(root, "sub/c.sql")),)
    assert found.used == {("file", "sub/c.sql")}
    assert found.complete
    assert found.notes == (
        "it read what its plan does not name, which counts from now on: sub/c.sql",
    )


def test_what_counts_in_the_id_by_now_counts_once(root):
    values = {("file", "a.sql"): digest(root, "a.sql"), ("file", "b.sql"): "other"}
    found = find(
        Seen(sight(root, ["a.sql", "b.sql"])), expected(root, values=values), InputValues()
    )
    assert found.inputs == (ObservedInput("file", "b.sql", None),)
    assert found.used == values.keys()


def test_what_was_written_too_never_matches(root):
    saw = sight(root, ["a.sql", "b.sql"], ["b.sql"])
    found = find(Seen(saw), expected(root), InputValues())
    assert found.inputs == (
        ObservedInput("file", "a.sql", digest(root, "a.sql")),
        ObservedInput("file", "b.sql", None),
    )
    assert "it read what changed while it ran: b.sql" in found.notes[1]


def test_unless_the_step_is_known_to_write_it_or_it_is_the_same_as_before(root):
    saw = sight(root, ["a.sql", "b.sql"], ["a.sql", "b.sql"])
    own = find(Seen(saw), expected(root, writes=lambda path: path.endswith("a.sql")), InputValues())
    assert [each.path for each in own.inputs] == ["b.sql"]
    values = {("file", name): digest(root, name) for name in ("a.sql", "b.sql")}
    assert find(Seen(saw), expected(root, values=values), InputValues()).inputs == ()


def test_what_is_written_while_it_is_digested_never_matches(root):
    first, later = sight(root, ["a.sql"]), sight(root, ["a.sql"], ["a.sql"])
    found = find(Seen(first, later), expected(root), InputValues())
    assert found.inputs == (ObservedInput("file", "a.sql", None),)


def test_what_is_gone_by_then_never_matches(root):
    found = find(Seen(sight(root, ["gone.sql"], ["gone.sql"])), expected(root), InputValues())
    assert found.inputs == (ObservedInput("file", "gone.sql", None),)


def test_directories_count_by_the_names_they_had(root):
    entries = {"c.sql": "file", ".hidden": "file", "x.pyc": "file", "__pycache__": "directory"}
    saw = sight(root, [], listed={str(root / "sub"): entries, str(root): {}})
    (root / "sub/later.sql").touch()
    found = find(Seen(saw), expected(root, "."), InputValues())
    (listed,) = (each for each in found.inputs if each.path == "sub")
    assert listed.value != InputValues().value(str(root), listed)
    (root / "sub/later.sql").unlink()
    assert listed.value == InputValues().value(str(root), listed)


def test_links_count_if_they_lead_to_what_was_used(root, tmp_path_factory):
    elsewhere = Path(os.path.realpath(tmp_path_factory.mktemp("elsewhere")))
    (elsewhere / "d.sql").write_text("d")
    links = {}
    for name, target in (("used", elsewhere), ("unused", root / "b.sql")):
        (root / name).symlink_to(target)
        links[str(root / name)] = str(target)
    saw = sight(root, [str(elsewhere / "d.sql")], links=links)
    found = find(Seen(saw), expected(root), InputValues())
    (file, link) = found.inputs
    assert (link.kind, link.path) == ("link", "used")
    assert link.value == file.path.rpartition("/")[0]
    (root / "used").unlink()
    assert InputValues().value(str(root), link) == ABSENT


def test_a_sight_that_is_not_whole_is_never_used_again(root):
    found = find(Seen(sight(root, ["a.sql"], blind="an overflow")), expected(root), InputValues())
    assert found.inputs[-1] == UNSEEN
    assert not found.complete
    assert "not all that it read was seen (an overflow)" in found.notes[-1]


def test_neither_is_a_step_that_may_have_read_more(root):
    doubted = expected(root, overlooked=lambda seen: None if seen else "nothing was read")
    assert find(Seen(sight(root, ["a.sql"])), doubted, InputValues()).complete
    assert not find(Seen(sight(root, [])), doubted, InputValues()).complete


def test_too_many_inputs_are_not_recorded(root, monkeypatch):
    monkeypatch.setattr(findings, "MOST_INPUTS", 1)
    found = find(Seen(sight(root, ["a.sql", "b.sql"])), expected(root), InputValues())
    assert found.inputs == (UNSEEN,)
    assert "more than 1 files" in found.notes[0]
