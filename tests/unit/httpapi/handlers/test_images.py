"""The list of images over HTTP."""

from dataclasses import replace

import orjson
import pytest
from support.http_fakes import IMAGE, Api, services

from sqlrs_engine.postgres.distributions.listing import ListedImage

LOCAL = ListedImage(
    image_id=IMAGE,
    references=("postgres:18.1", "postgres:18", "postgres"),
    digest=None,
    version="18.1",
    major=18,
    origin="wheel",
    extensions=("plpgsql",),
    size_bytes=None,
    bin_dir="/opt/pg/bin",
)
PULLED = replace(
    LOCAL,
    image_id="postgres@sha256:" + "cd" * 32,
    references=("postgis/postgis:17-3.5",),
    digest="sha256:" + "ef" * 32,
    origin="image",
    size_bytes=651_423_744,
)


class Images:
    def list(self):
        return [LOCAL, PULLED]


@pytest.fixture
def api(tmp_path):
    made = Api(tmp_path, services=replace(services(tmp_path), images=Images()))
    yield made
    made.store.close()


def test_images_are_listed_without_the_fields_that_they_lack(api):
    local, pulled = api.get("/v1/images").json()

    assert local == {
        "image_id": IMAGE,
        "references": ["postgres:18.1", "postgres:18", "postgres"],
        "version": "18.1",
        "major": 18,
        "origin": "wheel",
        "extensions": ["plpgsql"],
        "bin_dir": "/opt/pg/bin",
    }
    assert (pulled["digest"], pulled["size_bytes"]) == (PULLED.digest, PULLED.size_bytes)


def test_images_are_lines_for_those_who_want_lines(api):
    answer = api.get("/v1/images", headers={"Accept": "application/x-ndjson"})

    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [orjson.loads(line)["image_id"] for line in answer.content.splitlines()] == [
        LOCAL.image_id,
        PULLED.image_id,
    ]
