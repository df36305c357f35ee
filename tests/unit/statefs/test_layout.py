"""Where containers lie, and what is accepted as a name for one."""

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.statefs import StateFs, data_dir
from sqlrs_engine.statefs.copying import CopyBackend

DIGEST = "cd" * 32
IMAGE = f"postgres@sha256:{DIGEST}"
STATE = "ab" * 32
INSTANCE = "ef" * 16


@pytest.fixture
def files(tmp_path):
    return StateFs(tmp_path, CopyBackend(), owner=None)


def test_every_container_has_its_place(files, tmp_path):
    image = tmp_path / "engines" / "postgres" / DIGEST
    assert files.base_dir(IMAGE, STATE) == image / "bases" / STATE
    assert files.state_dir(IMAGE, STATE) == image / "states" / STATE
    assert files.instance_dir(INSTANCE) == tmp_path / "instances" / INSTANCE
    assert data_dir(image / "bases" / STATE) == image / "bases" / STATE / "data"


def test_an_instance_has_one_place_whatever_the_case_of_its_id(files):
    assert files.instance_dir(INSTANCE.upper()) == files.instance_dir(INSTANCE)


@pytest.mark.parametrize(
    "image_id",
    [
        "",
        "postgres",
        "postgres:17",
        "postgres@sha256:" + "cd" * 31,
        "postgres@sha256:" + "CD" * 32,
        "../postgres@sha256:" + DIGEST,
        "..@sha256:" + DIGEST,
        f"{IMAGE}\n",
    ],
)
def test_only_resolved_images_have_a_place(files, image_id):
    with pytest.raises(InvalidArgument, match="image"):
        files.base_dir(image_id, STATE)
    with pytest.raises(InvalidArgument, match="image"):
        files.state_dir(image_id, STATE)


@pytest.mark.parametrize("text", ["", "..", "../../..", "ab", STATE[:-1], STATE.upper()])
def test_only_state_ids_name_states(files, text):
    with pytest.raises(InvalidArgument, match="state id"):
        files.state_dir(IMAGE, text)
    with pytest.raises(InvalidArgument, match="base id"):
        files.base_dir(IMAGE, text)


@pytest.mark.parametrize("text", ["", "..", STATE, "name"])
def test_only_instance_ids_name_instances(files, text):
    with pytest.raises(InvalidArgument, match="instance id"):
        files.instance_dir(text)


def test_states_can_be_listed_without_their_rows(files):
    assert list(files.state_dirs()) == []
    other = f"postgres@sha256:{'01' * 32}"
    expected = {files.state_dir(IMAGE, STATE), files.state_dir(other, "cd" * 32)}
    for path in expected:
        path.mkdir(parents=True)
    files.base_dir(IMAGE, STATE).mkdir(parents=True)
    (files.state_dir(IMAGE, STATE).parent / "notes").mkdir()
    assert set(files.state_dirs()) == expected


def test_nothing_is_made_before_it_is_needed(files, tmp_path):
    files.sweep()
    assert files.wait_idle()
    assert list(tmp_path.iterdir()) == []
