"""doctor: what it says of a store; what it says of the machine is in tests/e2e."""

from pathlib import Path

from sqlrs_engine.commands.doctor import Finding, examine
from sqlrs_engine.commands.terminal import Places


def recovery(store: Path) -> Finding:
    where = Places(
        state_dir=store.parent, store=store, builds=store / "builds", images=store / "images"
    )
    return next(finding for finding in examine(where, "") if finding.subject == "recovery")


def test_a_store_with_nothing_set_aside(tmp_path: Path) -> None:
    assert recovery(tmp_path / "none yet").verdict == "ok"


def test_what_is_set_aside_is_counted(tmp_path: Path) -> None:
    for place in ("instances/a", "engines/postgres/x/states/b", "engines/postgres/x/states/c"):
        (tmp_path / "set-aside" / place).mkdir(parents=True)
    for companion in ("", "-wal"):
        (tmp_path / f"state.db.damaged-20260101T000000000000Z{companion}").touch()
    found = recovery(tmp_path)
    assert found.verdict == "note"
    assert "3 in" in found.text
    assert "1 in" in found.text
    assert "docs/recovery.md" in str(found.advice)
