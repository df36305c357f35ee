"""sources.paths and sources.manifest: what clients say of their files."""

import tracemalloc

import pytest

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.sources import Manifest, manifest, paths

DIGEST = "ab" * 32


@pytest.mark.parametrize(
    ("root", "path", "key"),
    [
        ("/home/me/app", "/home/me/app/sql/a.sql", "sql/a.sql"),
        ("/home/me/app/", "/home/me//app/./sql/../a.sql", "a.sql"),
        ("/home/me/app", "/home/me/app", "."),
        ("/", "/a.sql", "a.sql"),
        (r"C:\work\project", r"C:\work\project\db\a.sql", "db/a.sql"),
        (r"C:\Work\Project", r"c:\work\project\DB\A.sql", "DB/A.sql"),
        ("C:/work/project", r"C:\work\project\a.sql", "a.sql"),
        ("C:\\", r"C:\a.sql", "a.sql"),
        (r"\\host\share\app", r"\\host\share\app\a.sql", "a.sql"),
    ],
)
def test_a_path_in_the_workspace_has_a_key(root: str, path: str, key: str) -> None:
    assert paths.key_in(root, path) == key


@pytest.mark.parametrize(
    ("root", "path"),
    [
        ("/home/me/app", "/home/me/application/a.sql"),
        ("/home/me/app", "/home/me/app/../secret.sql"),
        ("/home/me/app", "/etc/passwd"),
        ("/home/me/app", r"C:\home\me\app\a.sql"),
        (r"C:\work", r"D:\work\a.sql"),
        (r"C:\work", r"C:\work\..\a.sql"),
        (r"C:\work", "/work/a.sql"),
    ],
)
def test_a_path_outside_the_root_has_no_key(root: str, path: str) -> None:
    with pytest.raises(InvalidArgument, match="outside the workspace"):
        paths.key_in(root, path)


@pytest.mark.parametrize("path", ["/a", "C:\\a", "c:/a", r"\\host\share", "//host/share"])
def test_absolute_paths_are_told_in_either_syntax(path: str) -> None:
    assert paths.is_absolute(path)


@pytest.mark.parametrize("path", ["a", "./a", r"a\b", "C:a", "", "~", r"\a"])
def test_relative_paths_are_told_in_either_syntax(path: str) -> None:
    assert not paths.is_absolute(path)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/a",
        "../a",
        "a/../b",
        "a/./b",
        "a//b",
        "a/",
        r"a\b",
        "C:/a",
        "C:",
        "a\0",
        "x" * 2001,
        "é" * 128,
        "..",
        "a/..",
    ],
)
def test_keys_stay_within_the_workspace(key: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid path in source_manifest"):
        Manifest.from_json({"files": {key: f"sha256:{DIGEST}"}})
    with pytest.raises(InvalidArgument, match="invalid path in source_manifest"):
        Manifest.from_json({"directories": {key: {"entries": []}}})


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"workspace_ref": None, "files": None, "directories": None},
        {"workspace_ref": {"root_path": None}, "directories": {".": {"entries": None}}},
        {"colour": "red"},
    ],
)
def test_a_manifest_may_be_empty(body: dict) -> None:
    assert Manifest.from_json(body).files == {}


def test_a_stored_manifest_reads_back_the_same() -> None:
    body = {
        "workspace_ref": {"root_id": "x", "root_path": "/w", "work_dir": "/w/d"},
        "files": {"d/a.sql": f"sha256:{DIGEST}"},
        "directories": {
            "d": {"entries": [{"name": "a.sql", "kind": "file"}], "complete": True},
            ".": {"entries": [{"name": "d", "kind": "directory"}]},
            "e": {"entries": [], "complete": False},
        },
    }
    given = Manifest.from_json(body)
    assert given == Manifest.from_json(given.to_json())
    assert (given.root, given.work_dir, given.files) == ("/w", "/w/d", {"d/a.sql": DIGEST})
    assert given.directories == {"d": {"a.sql"}, ".": {"d"}}
    assert list(manifest.digests(given.to_json())) == [DIGEST]


def test_a_file_is_no_directory() -> None:
    files = {"a": f"sha256:{DIGEST}", "a/b/c": f"sha256:{DIGEST}"}
    with pytest.raises(InvalidArgument, match="invalid path"):
        Manifest.from_json({"files": files})
    with pytest.raises(InvalidArgument, match="invalid path"):
        Manifest.from_json({"files": {".": f"sha256:{DIGEST}"}})


@pytest.mark.parametrize("name", ["a/b", ".", ".."])
def test_names_in_listings_are_names(name: str) -> None:
    listing = {"entries": [{"name": name, "kind": "file"}]}
    with pytest.raises(InvalidArgument, match="invalid name"):
        Manifest.from_json({"directories": {".": listing}})


@pytest.mark.parametrize("field", ["root_path", "work_dir"])
def test_the_workspace_is_absolute(field: str) -> None:
    with pytest.raises(InvalidArgument, match=f"{field} must be absolute"):
        Manifest.from_json({"workspace_ref": {field: "app"}})


def test_the_size_of_a_manifest_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "MAX_ENTRIES", 2)
    listing = {"entries": [{"name": n, "kind": "file"} for n in "ab"]}
    with pytest.raises(InvalidArgument, match="too large"):
        Manifest.from_json({"directories": {".": listing}})


def test_without_a_root_no_path_can_be_placed() -> None:
    with pytest.raises(InvalidArgument, match="root_path"):
        Manifest().key_of("/a.sql")


def test_a_manifest_knows_what_is_there_and_which_directory_to_list() -> None:
    given = Manifest(
        files={"sql/a.sql": DIGEST, "deep/er/x.sql": DIGEST},
        directories={"sql": frozenset({"a.sql", "b.sql", "sub"})},
    )
    assert given.holds("sql/a.sql") is True
    assert given.holds("sql/b.sql") is True
    assert given.holds("sql/c.sql") is False
    assert given.holds("sql/sub/x.sql") == "sql/sub"
    assert given.holds("sql/none/x.sql") is False
    assert given.holds("deep/er/y.sql") == "deep/er"
    assert given.holds("deep") is True
    assert given.holds("other/x.sql") == "."
    assert given.holds("other/much/deeper/x.sql") == "."
    assert given.holds(".") is True


def test_depth_is_bounded() -> None:
    deep = "/".join(["a"] * 129)
    with pytest.raises(InvalidArgument, match="invalid path in source_manifest"):
        Manifest.from_json({"files": {deep: f"sha256:{DIGEST}"}})
    assert Manifest.from_json({"files": {deep[2:]: f"sha256:{DIGEST}"}}).holds("a/a/b") == "a/a"


def test_a_path_much_deeper_than_the_manifest_is_looked_up() -> None:
    assert Manifest().holds("/".join(["a"] * 5000)) == "."


def test_many_deep_paths_take_no_more_memory_than_their_text() -> None:
    files = {f"{n:05}/" + "/".join(["a"] * 120): f"sha256:{DIGEST}" for n in range(2000)}
    tracemalloc.start()
    try:
        given = Manifest.from_json({"files": files})
        assert given.holds("00007/a") is True
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * sum(map(len, files))
