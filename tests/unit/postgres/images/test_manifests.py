"""Manifests and configurations: what is read from them, and what is refused."""

import json
from typing import Any

import pytest

from sqlrs_engine.errors import ImageCorrupt, ImageUnavailable
from sqlrs_engine.postgres.images.manifests import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    digest_of,
    manifest_for,
    read_config,
    read_index,
    read_manifest,
)
from sqlrs_engine.postgres.images.platforms import Platform, choose, this_platform

AMD64 = Platform(os="linux", architecture="amd64")
DIGEST = "sha256:" + "0af1" * 16


def entry(digest: str = DIGEST, size: Any = 3, **more: Any) -> dict[str, Any]:
    return {"mediaType": "m", "digest": digest, "size": size, **more}


def index(*platforms: dict[str, str] | None, **more: Any) -> bytes:
    listed = [
        entry(digest_of(bytes([number])), **({"platform": each} if each else {}))
        for number, each in enumerate(platforms)
    ]
    return json.dumps({"schemaVersion": 2, "manifests": listed, **more}).encode()


def config(**changes: Any) -> bytes:
    content = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [DIGEST]},
        "config": {"Env": ["PATH=/bin:/usr/bin", "EMPTY=", "A=b=c"], "Cmd": ["postgres"]},
    }
    return json.dumps(content | changes).encode()


@pytest.mark.parametrize(
    ("machine", "platform"),
    [("x86_64", "linux/amd64"), ("aarch64", "linux/arm64/v8"), ("armv7l", "linux/arm/v7")],
)
def test_the_platform_of_a_machine(machine: str, platform: str) -> None:
    assert str(this_platform(machine)) == platform


@pytest.mark.parametrize(
    ("machine", "offered", "chosen"),
    [
        ("x86_64", ["linux/arm64", "linux/amd64"], 1),
        ("x86_64", ["linux/amd64/v3", "linux/amd64"], 1),
        ("x86_64", ["windows/amd64"], None),
        ("aarch64", ["linux/arm/v7", "linux/arm64"], 1),
        ("aarch64", ["linux/arm64/v9", "linux/arm64/v8"], 1),
        ("armv7l", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 1),
        ("armv6l", ["linux/arm/v5", "linux/arm/v7", "linux/arm/v6"], 2),
        ("x86_64", ["linux/amd64", "linux/amd64"], 0),
        ("x86_64", [], None),
        ("aarch64", ["linux/arm64/v\u00b2", f"linux/arm64/{'9' * 5000}", "linux/arm64/v8"], 2),
    ],
)
def test_the_best_platform(machine: str, offered: list[str], chosen: int | None) -> None:
    parts = [
        dict(zip(("os", "architecture", "variant"), each.split("/"), strict=False))
        for each in offered
    ]
    assert choose([Platform(**each) for each in parts], this_platform(machine)) == chosen


@pytest.mark.parametrize("media_type", [OCI_INDEX, DOCKER_INDEX, None])
def test_an_index_lists_manifests(media_type: str | None) -> None:
    listed = read_index(
        index(
            {"os": "linux", "architecture": "arm64", "variant": "v8"},
            {"os": "linux", "architecture": "amd64"},
        ),
        media_type,
    )
    assert listed is not None
    assert [str(each.platform) for each in listed] == ["linux/arm64/v8", "linux/amd64"]
    assert manifest_for(listed, AMD64, "x").descriptor.digest == digest_of(b"\1")


@pytest.mark.parametrize("media_type", [OCI_MANIFEST, DOCKER_MANIFEST, None])
def test_a_manifest_is_not_an_index(media_type: str | None) -> None:
    content = json.dumps({"schemaVersion": 2, "config": entry(), "layers": [entry(size=7)]})
    assert read_index(content.encode(), media_type) is None
    manifest = read_manifest(content.encode(), DIGEST)
    assert manifest.layers == (Descriptor(media_type="m", digest=DIGEST, size=7),)


def test_a_missing_platform_is_reported_with_those_that_there_are() -> None:
    listed = read_index(
        index(
            {"os": "linux", "architecture": "s390x"},
            {"os": "linux", "architecture": "arm", "variant": "v7"},
            {"os": "unknown", "architecture": "unknown"},
        ),
        None,
    )
    with pytest.raises(ImageUnavailable, match="pg:1 is not for linux/amd64") as failure:
        manifest_for(listed or (), AMD64, "pg:1")
    assert failure.value.details == "its platforms: linux/s390x, linux/arm/v7"


def test_a_single_manifest_needs_no_platform() -> None:
    listed = read_index(index(None, {"os": "unknown", "architecture": "unknown"}), None) or ()
    assert manifest_for(listed, AMD64, "x").descriptor.digest == digest_of(b"\0")
    with pytest.raises(ImageUnavailable, match="is not for linux/amd64"):
        manifest_for(read_index(index(None, None), None) or (), AMD64, "x")


def test_a_configuration() -> None:
    read = read_config(config())
    assert read.env == {"PATH": "/bin:/usr/bin", "EMPTY": "", "A": "b=c"}
    assert (read.cmd, read.entrypoint, read.labels) == (("postgres",), (), {})
    assert (read.platform, read.diff_ids) == (AMD64, (DIGEST,))


def test_variables_that_no_process_can_have_are_left_out() -> None:
    variables = ["A=1", "B", "=c", "a.b=1", "-S=1", "D=\0", "E=\ud800", "F=\u00e9", "_=\n"]
    read = read_config(config(config={"Env": variables}))
    assert read.env == {"A": "1", "F": "\u00e9", "_": "\n"}


@pytest.mark.parametrize("run", [None, {}, {"Env": None, "Cmd": None, "Labels": None}])
def test_a_configuration_without_settings(run: dict[str, None] | None) -> None:
    read = read_config(config(config=run))
    assert (read.env, read.cmd, read.labels) == ({}, (), {})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        config(rootfs=None),
        config(rootfs={"diff_ids": ["sha256:12"]}),
        config(config={"Env": [1]}),
        config(config={"Labels": ["a"]}),
        config(architecture=None),
    ],
    ids=range(9),
)
def test_an_unreadable_configuration_is_an_error(content: bytes) -> None:
    with pytest.raises(ImageCorrupt, match="configuration"):
        read_config(content)


@pytest.mark.parametrize(
    "change",
    [
        {"schemaVersion": 1},
        {"config": None},
        {"layers": None},
        {"layers": [None]},
        {"layers": [entry("sha256:12")]},
        {"layers": [entry("md5:" + "0" * 32)]},
        {"layers": [entry("sha256:../../" + "0" * 58)]},
        {"layers": [entry(size=-1)]},
        {"layers": [entry(size=True)]},
        {"layers": [entry(size=2**60)]},
        {"layers": [entry(size="3")]},
        {"layers": [entry()] * 1001},
    ],
    ids=str,
)
def test_an_unreadable_manifest_is_an_error(change: dict[str, Any]) -> None:
    sound = {"schemaVersion": 2, "config": entry(), "layers": [entry()]}
    with pytest.raises(ImageCorrupt, match="manifest is unreadable: pull it again"):
        read_manifest(json.dumps(sound | change).encode(), DIGEST)
