"""httpapi.serializers: the JSON form of records and deletion trees."""

import pytest
from support.http_fakes import IMAGE, Api

from sqlrs_engine.httpapi.serializers import DEEPEST
from sqlrs_engine.store.records import State


@pytest.fixture
def api(tmp_path):
    return Api(tmp_path)


def test_the_deletion_tree_of_a_long_chain_has_a_bounded_depth(api):
    """JSON encoders and readers have limits of nesting; chains of states have none."""
    length = 400
    ids = [f"{number:064x}" for number in range(length)]
    for parent, state_id in zip([None, *ids], ids, strict=False):
        api.store.states.add(
            State(
                state_id=state_id,
                parent_state_id=parent,
                image_id=IMAGE,
                prepare_kind="psql",
                prepare_args_normalized="",
                created_at="2026-01-01T00:00:00.000000Z",
            )
        )
    path = f"/v1/states/{ids[0]}?recurse=true"
    planned = api("DELETE", f"{path}&dry_run=true")
    assert planned.status_code == 200
    done = api("DELETE", path)
    assert (done.status_code, done.json()["outcome"]) == (200, "deleted")
    assert api.store.states.totals().count == 0
    root = done.json()["root"]
    assert planned.json()["root"] == root
    levels, nodes = 0, [root]
    found = []
    while nodes:
        levels += 1
        found += [node["id"] for node in nodes]
        nodes = [child for node in nodes for child in node.get("children", [])]
    assert levels == DEEPEST
    assert found == ids  # the parents first, each once
