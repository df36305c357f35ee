"""Lists as JSON by pages: the same rows as ``find``, for every page size, with gaps or without."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from support.store_samples import NOON, at, instance, job, name, state

from sqlrs_engine.store import InstanceFilter, NameFilter, StateFilter
from sqlrs_engine.store.sqlite import SqliteStore, hot_reads

JOB = ("job_id", "created_at", "prepare_args_normalized", "plan_only")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "state.db", clock=lambda: NOON)
    store.states.add(state(1))
    yield store
    store.close()


@pytest.fixture(params=[1, 2, 3, 5, 100])
def _page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hot_reads, "PAGE_ROWS", request.param)


def objects(pages: Iterator[bytes]) -> list[dict[str, object]]:
    return [orjson.loads(line) for page in pages for line in page.splitlines()]


@pytest.mark.usefixtures("_page")
def test_every_page_size_gives_every_row_in_order(store: SqliteStore) -> None:
    # Equal times: their order is that of insertion.
    for number in (1, 2, 3, 4, 5):
        store.jobs.add(replace(job(number), created_at=at(number // 3), plan_only=number == 4))
        store.names.put(name(f"n{number}"))

    jobs = objects(store.jobs.find_json(None, JOB, "\n"))
    assert [each["job_id"] for each in jobs] == [each.job_id for each in store.jobs.find()]
    names = objects(store.names.find_json(NameFilter(), ("name", "status"), "\n"))
    assert names == [{"name": f"n{n}", "status": "missing"} for n in (1, 2, 3, 4, 5)]


def test_an_empty_list_has_no_page(store: SqliteStore) -> None:
    assert list(store.instances.find_json(InstanceFilter(), ("instance_id",), ",")) == []


def test_fields_without_a_value_are_left_out_of_json(store: SqliteStore) -> None:
    store.instances.add(instance(1))
    fields = ("instance_id", "name", "status", "protected")
    [bare] = objects(store.instances.find_json(InstanceFilter(), fields, "\n"))
    assert bare == {"instance_id": instance(1).instance_id, "status": "orphaned"}
    store.instances.update(instance(1).instance_id, protected=True)
    [set_] = objects(store.instances.find_json(InstanceFilter(), fields, "\n"))
    assert set_["protected"] is True


def test_json_keeps_any_text(store: SqliteStore) -> None:
    text = 'a "quote", ,"size_bytes":null \\ \x01 \n é 😀'
    store.states.add(replace(state(2), prepare_args_normalized=text))
    fields = ("state_id", "prepare_args_normalized", "size_bytes")
    wanted = StateFilter(id_prefix=state(2).state_id)
    [found] = objects(store.states.find_json(wanted, fields, "\n"))
    assert found["prepare_args_normalized"] == text


def test_rows_removed_between_pages_skip_no_others(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot_reads, "PAGE_ROWS", 2)
    for each in "abcdef":
        store.names.put(name(each))
    pages = store.names.find_json(NameFilter(), ("name",), ",")
    assert next(pages) == b'{"name":"a"},{"name":"b"}'
    for gone in "abc":
        store.names.remove(gone)
    assert list(pages) == [b'{"name":"d"},{"name":"e"}', b'{"name":"f"}']
