"""engine: the parts put together; no PostgreSQL runs."""

import contextlib
import json
import logging
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import store_samples as samples

from sqlrs_engine.config.schema import build, leaves
from sqlrs_engine.engine.composition import Engine
from sqlrs_engine.errors import InvalidArgument, StorageFull
from sqlrs_engine.instances.recovery import Recovery

STUCK = """
import threading
from sqlrs_engine.engine.process import exit_if_stuck

class Engine:
    def stuck(self):
        return STUCK

# Not a daemon, as the threads of pools are not.
threading.Thread(target=threading.Event().wait, args=(SECONDS,)).start()
exit_if_stuck(Engine())
print("went on")
"""


@pytest.fixture
def engine(tmp_path):
    engine = Engine(tmp_path)
    yield engine
    engine.stop()
    engine.close()


def test_a_part_that_does_not_stop_does_not_keep_the_others_from_it(engine, monkeypatch, caplog):
    stopped = []

    def fail(seconds):
        raise OSError("the disk is gone")

    monkeypatch.setattr(engine.runs, "shutdown", fail)
    monkeypatch.setattr(engine.instances, "stop", lambda: stopped.append("reaper"))
    job = samples.job()
    engine.store.jobs.add(job)
    engine.stop()
    assert stopped == ["reaper"]
    assert engine.prepare.events.read(job.job_id, 0).state == "suspended"
    assert "did not stop as it should" in caplog.text


@pytest.mark.parametrize(("stuck", "printed"), [(True, ""), (False, "went on\n")])
def test_threads_still_at_work_do_not_outlive_the_engine(stuck, printed):
    program = STUCK.replace("STUCK", str(stuck)).replace("SECONDS", "60" if stuck else "0")
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout == printed


def test_recovery_drops_doubtful_states_before_it_revives_instances(tmp_path, monkeypatch):
    doubtful = samples.state(1, boot_id="another boot")
    found = []
    monkeypatch.setattr(
        Recovery, "run", lambda self: found.append(engine.store.states.get(doubtful.state_id))
    )
    engine = Engine(tmp_path)
    try:
        engine.store.states.add(doubtful)
        engine.recovery.run()
    finally:
        engine.stop()
        engine.close()
    assert found == [None]


# Configuration

LEAVES = dict(leaves(build()))
NASTY = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        ["root", "0", "nobody", "auto", "overlay", "0s", "1ns", "2562047h", "\n", "/", "\x7f"]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(
        st.sampled_from(["port\n", "PORT", "work_mem", "a.b", "x y", ""]),
        st.one_of(st.none(), st.text(max_size=3), st.integers(), st.booleans()),
        max_size=3,
    ),
)


def values_of(path):
    """Draw values for a path: its choices and limits, and whatever else comes to mind."""
    leaf = LEAVES[path]
    edges = [leaf["default"], leaf.get("minimum"), leaf.get("maximum"), *leaf.get("enum", [])]
    return st.one_of(st.sampled_from(edges), NASTY)


CHANGES = st.lists(
    st.sampled_from(sorted(LEAVES)).flatmap(lambda path: st.tuples(st.just(path), values_of(path))),
    min_size=1,
    max_size=4,
)


def built(root):
    """Build an engine and ask it what depends on its configuration; return its warnings."""
    engine = Engine(root)
    try:
        engine.disk_budget.make_room("startup_recovery")
        engine.services.cache.status()
        engine.instances.pool.standbys()
        logging.getLogger("sqlrs_engine").setLevel(logging.NOTSET)
        return [str(problem) for problem in engine.config.problems]
    finally:
        engine.stop()
        engine.close()


@given(changes=CHANGES)
@settings(max_examples=15, deadline=None)
def test_an_engine_starts_with_any_configuration_it_accepts(changes):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        engine = Engine(root)
        try:
            for path, value in changes:
                with contextlib.suppress(InvalidArgument):
                    engine.config.set(path, value)
        finally:
            engine.stop()
            engine.close()
        assert built(root) == []


@given(
    written=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3),
            st.dictionaries(
                st.one_of(st.sampled_from([key for path in LEAVES for key in path.split(".")])),
                inner,
                max_size=3,
            ),
        ),
    )
)
@settings(max_examples=15, deadline=None)
def test_an_engine_starts_with_any_configuration_written_by_hand(written):
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "config.json").write_text(json.dumps(written))
        problems = built(root)
        assert problems or isinstance(written, dict), "what is no object is reported"


@pytest.mark.parametrize(
    ("path", "value"),
    [("snapshot.backend", "overlay"), ("postgres.osUser", "root"), ("postgres.osUser", "no-such")],
)
def test_a_setting_that_cannot_work_here_is_refused_and_survived(
    tmp_path, engine, caplog, path, value
):
    with pytest.raises(InvalidArgument, match=path):
        engine.config.set(path, value)
    head, leaf = path.split(".")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({head: {leaf: value}}))
    problems = built(tmp_path / "other")
    if path == "snapshot.backend":
        assert "snapshot.backend is at the default" in problems[0]
        assert "snapshot.backend is at the default" in caplog.text


def test_on_a_disk_too_full_to_try_the_backend_is_the_one_of_before(tmp_path, monkeypatch):
    def full(root, wanted):
        raise StorageFull("no room to find out")

    monkeypatch.setattr("sqlrs_engine.statefs.probe.choose_backend", full)
    with pytest.raises(StorageFull):
        Engine(tmp_path)
    monkeypatch.undo()
    before = Engine(tmp_path)
    before.close()
    monkeypatch.setattr("sqlrs_engine.statefs.probe.choose_backend", full)
    engine = Engine(tmp_path)
    assert engine.files.backend.name == before.files.backend.name
    engine.close()
