from pathlib import Path

from sqlrs_engine.store.sqlite import SqliteStore


def test_notes_are_stored_by_key(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "state.db")
    assert store.meta.get("last") is None

    store.meta.put("last", {"n": 1, "list": ["ü"]})
    store.meta.put("other", {})
    store.meta.put("last", {"n": 2**53})
    store.close()

    store = SqliteStore(tmp_path / "state.db")
    assert store.meta.get("last") == {"n": 2**53}
    assert store.meta.get("other") == {}
    store.close()
