"""Layers become root file systems: what archives may do, and what hostile ones can't."""

import errno
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import images
from support.images import LayerWriter

from sqlrs_engine.errors import ImageCorrupt
from sqlrs_engine.postgres.images import root_files
from sqlrs_engine.postgres.images.layers import (
    Entry,
    Kind,
    Layer,
    complete_layer,
    read_layer,
    unpack_layer,
)
from sqlrs_engine.postgres.images.root_files import RootFiles

MakeLayer = Callable[..., images.Layer]
Build = Callable[..., Path]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the root file system that must stay as it is."""
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "file").write_bytes(b"precious")
    return directory


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Unpack layers and make a root file system of them."""
    count = iter(range(1000))

    def make(*layers: images.Layer) -> Path:
        tree = RootFiles()
        for layer in layers:
            directory = tmp_path / f"unpacked-{next(count)}"
            tree.apply(unpack_layer(layer.chunks(), layer.diff_id, directory))
        target = tmp_path / f"rootfs-{next(count)}"
        tree.write(target)
        return target

    yield make
    for each in (*tmp_path.glob("unpacked-*"), *tmp_path.glob("rootfs-*")):
        shutil.rmtree(each)


def link(path: Path) -> str:
    return os.readlink(path)  # noqa: PTH115 - exactly as it is written


def names(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def test_files_directories_and_links(build: Build, make_layer: MakeLayer) -> None:
    def fill(tree: LayerWriter) -> None:
        tree.directory("usr")
        tree.file("usr/bin/postgres", b"program", 0o755)
        tree.file("usr/share/data", b"data", 0o600)
        tree.symlink("usr/bin/postmaster", "postgres")
        tree.hard_link("usr/bin/other", "usr/bin/postgres")

    root = build(make_layer(fill=fill))
    assert (root / "usr/bin/postgres").read_bytes() == b"program"
    assert link(root / "usr/bin/postmaster") == "postgres"
    assert (root / "usr/bin/other").samefile(root / "usr/bin/postgres")


def test_everybody_may_read_and_execute_what_somebody_may(
    build: Build, make_layer: MakeLayer
) -> None:
    def fill(tree: LayerWriter) -> None:
        tree.directory("secret", 0o700)
        tree.file("secret/file", b"", 0o400)
        tree.file("secret/program", b"", 0o4710)
        tree.file("shared", b"", 0o2777)

    mask = os.umask(0o077)
    try:
        root = build(make_layer(fill=fill))
    finally:
        os.umask(mask)
    modes = {name: stat.S_IMODE((root / name).stat().st_mode) for name in names(root)}
    assert modes == {
        "secret": 0o755,
        "secret/file": 0o644,
        "secret/program": 0o755,
        "shared": 0o755,
    }
    assert stat.S_IMODE(root.stat().st_mode) == 0o755


def test_times_of_files_stay(build: Build, make_layer: MakeLayer) -> None:
    root = build(make_layer(fill=lambda tree: tree.entry("a", mtime=1234567)))
    assert (root / "a").stat().st_mtime == 1234567


def test_devices_are_left_out(build: Build, make_layer: MakeLayer) -> None:
    def fill(tree: LayerWriter) -> None:
        for number, kind in enumerate((tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE)):
            tree.entry(f"dev/special-{number}", type=kind, devmajor=1, devminor=3)
        tree.file("dev/file", b"")

    assert names(build(make_layer(fill=fill))) == {"dev", "dev/file"}


@pytest.mark.parametrize("compression", ["plain", "gzip"])
def test_upper_layers_win(build: Build, make_layer: MakeLayer, compression: str) -> None:
    lower = make_layer({"a": b"lower", "b/c": b"lower", "d": b"file", "e": "a", "f/g": b"lower"})
    upper = make_layer(
        {"a": b"upper", "b/x": b"upper", "d/now": b"a directory", "e": b"file", "f": b"file"},
        compression=compression,
    )
    with pytest.raises(ImageCorrupt, match="d/now is below a file"):
        build(lower, upper)
    explicit = make_layer({"d": None, "d/now": b"a directory", "a": b"upper", "e": b"x", "f": b"x"})
    root = build(lower, explicit)
    assert (root / "a").read_bytes() == b"upper"
    assert (root / "b/c").read_bytes() == b"lower"
    assert (root / "d/now").read_bytes() == b"a directory"
    assert not (root / "e").is_symlink()
    assert (root / "f").is_file()


def test_whiteouts_hide_what_lower_layers_have(build: Build, make_layer: MakeLayer) -> None:
    lower = make_layer({"a": b"1", "dir/b": b"1", "dir/sub/c": b"1", "kept/d": b"1"})

    def fill(tree: LayerWriter) -> None:
        tree.whiteout("a")
        tree.whiteout("dir/sub")
        tree.whiteout("nowhere/x")
        tree.whiteout("missing")
        tree.file("dir/new", b"2")

    assert names(build(lower, make_layer(fill=fill))) == {
        "dir",
        "dir/b",
        "dir/new",
        "kept",
        "kept/d",
    }


def test_a_whiteout_hides_nothing_of_its_own_layer(build: Build, make_layer: MakeLayer) -> None:
    lower = make_layer({"dir/old": b"1", "opaque/old": b"1", "file": b"1"})

    def fill(tree: LayerWriter) -> None:
        tree.file("dir/new", b"2")
        tree.file("opaque/new", b"2")
        tree.file("file", b"2")
        tree.whiteout("dir")
        tree.whiteout("file")
        tree.opaque("opaque")

    root = build(lower, make_layer(fill=fill))
    assert names(root) == {"dir", "dir/new", "opaque", "opaque/new", "file"}
    assert (root / "file").read_bytes() == b"2"


def test_whiteouts_and_links_share_no_names(build: Build, make_layer: MakeLayer) -> None:
    layer = make_layer({".wh..wh.aufs": b"", ".wh..wh.plnk/1.2": b"", "a": b""})
    assert names(build(layer)) == {".wh..wh.plnk", ".wh..wh.plnk/1.2", "a"}
    for name in (".wh.", ".wh...", ".wh.."):
        with pytest.raises(ImageCorrupt, match="whiteout"):
            build(make_layer({name: b""}))


def test_a_hard_link_to_a_file_of_a_lower_layer(build: Build, make_layer: MakeLayer) -> None:
    lower = make_layer({"a/b": b"content", "link": "a/b"})

    def fill(tree: LayerWriter) -> None:
        tree.hard_link("c", "a/b")
        tree.hard_link("d", "/./link")
        tree.whiteout("unrelated")

    root = build(lower, make_layer(fill=fill))
    assert (root / "c").read_bytes() == b"content"
    assert link(root / "d") == "a/b"


@pytest.mark.parametrize("target", ["missing", "dir", "", "dir/missing/x"])
def test_a_hard_link_to_what_is_no_file_is_refused(
    build: Build, make_layer: MakeLayer, target: str
) -> None:
    layer = make_layer({"dir": None}, fill=lambda tree: tree.hard_link("a", target))
    with pytest.raises(ImageCorrupt, match="do not fit together"):
        build(layer)


@pytest.mark.parametrize(
    "name", ["../outside/file", "a/../../outside/file", "..", "a/..", "/../outside/file"]
)
@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE])
def test_a_name_that_leads_outside_is_refused(
    build: Build, make_layer: MakeLayer, outside: Path, name: str, kind: bytes
) -> None:
    layer = make_layer(fill=lambda tree: tree.entry(name, type=kind, linkname="x"))
    with pytest.raises(ImageCorrupt, match="a layer of the image is damaged"):
        build(layer)
    assert (outside / "file").read_bytes() == b"precious"


def test_a_hard_link_to_a_file_outside_is_refused(
    build: Build, make_layer: MakeLayer, outside: Path
) -> None:
    with pytest.raises(ImageCorrupt, match="it has the name"):
        build(make_layer(fill=lambda tree: tree.hard_link("a", "../outside/file")))
    with pytest.raises(ImageCorrupt, match="not a file"):
        build(make_layer(fill=lambda tree: tree.hard_link("a", str(outside / "file"))))
    through = make_layer({"out": str(outside)}, fill=lambda tree: tree.hard_link("a", "out/file"))
    with pytest.raises(ImageCorrupt, match="not a file"):
        build(through)


def test_absolute_names_are_below_the_root(build: Build, make_layer: MakeLayer) -> None:
    layer = make_layer({"/etc/passwd": b"mine", "//a//./b": b"mine"})
    assert names(build(layer)) == {"etc", "etc/passwd", "a", "a/b"}


@pytest.mark.parametrize("relative", [True, False])
def test_nothing_is_written_through_a_link_to_outside(
    build: Build, make_layer: MakeLayer, outside: Path, relative: bool
) -> None:
    target = "../outside" if relative else str(outside)
    layer = make_layer({"out": target, "out/file": b"evil", "out/new": b"evil"})
    root = build(layer)
    assert [*outside.iterdir()] == [outside / "file"]
    assert (outside / "file").read_bytes() == b"precious"
    written = root / ("outside" if relative else str(outside).lstrip("/")) / "file"
    assert written.read_bytes() == b"evil"
    assert (root / "out/file").samefile(written)


def test_a_link_replaced_by_a_file_is_not_followed(
    build: Build, make_layer: MakeLayer, outside: Path
) -> None:
    layer = make_layer({"a": str(outside / "file")})
    root = build(layer, make_layer({"a": b"mine"}))
    assert (root / "a").read_bytes() == b"mine"
    assert (outside / "file").read_bytes() == b"precious"


@pytest.mark.parametrize(
    ("name", "target", "written"),
    [
        ("a", "/usr/bin", "usr/bin"),
        ("a", "/", "."),
        ("usr/a", "/", "../"),
        ("usr/lib/a", "/usr/bin/psql", "../../usr/bin/psql"),
        ("usr/lib/a", "//usr//bin/", "../../usr//bin/"),
        ("usr/lib/a", "../bin/psql", "../bin/psql"),
        ("usr/lib/a", "../../../../etc/passwd", "../../etc/passwd"),
        ("usr/lib/a", "/../../etc/passwd", "../../etc/passwd"),
        ("usr/lib/a", "../../..", "../../"),
        ("a", "..", "."),
        ("a", "../x/y", "x/y"),
        ("a", "link-to-root/../../etc", "etc"),
        ("usr/lib/a", "missing/../../../../etc", "../../etc"),
        ("usr/lib/a", "file/../../../../etc", "../../etc"),
        ("usr/lib/a", "missing/../file", "../../usr/lib/file"),
        ("a", "loop/../..", "."),
        ("a", "usr/lib/up/../../x", "x"),
    ],
)
def test_links_mean_outside_what_they_mean_inside(
    build: Build, make_layer: MakeLayer, name: str, target: str, written: str
) -> None:
    layer = make_layer(
        {
            "usr/bin/psql": b"",
            "usr/lib/file": b"",
            "usr/lib/up": "../..",
            "etc/passwd": b"",
            "link-to-root": "/usr",
            "loop": "loop",
            name: target,
        }
    )
    root = build(layer)
    assert link(root / name) == written


def test_no_link_leads_outside_through_what_is_added_later(
    build: Build, make_layer: MakeLayer
) -> None:
    added = ".sqlrs/links/r"  # relocation makes this a link to the root
    root = build(
        make_layer({"a": f"{added}/../../../outside", "b": f"{added}/{added}{'/..' * 6}/etc"})
    )
    (root / ".sqlrs/links").mkdir(parents=True)
    (root / added).symlink_to("../..")
    assert {(root / each).resolve().relative_to(root) for each in "ab"} == {
        Path("outside"),
        Path("etc"),
    }


def test_links_that_lead_through_links_take_no_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(root_files, "_MAX_STEPS", 100_000)
    links = [Entry(Kind.SYMLINK, f"{each + 1}", f"{'d/../' * 500}{each}") for each in range(38)]
    below = [Entry(Kind.DIRECTORY, f"38/{each}") for each in range(100)]
    entries = (Entry(Kind.DIRECTORY, "d"), Entry(Kind.DIRECTORY, "0"), *links, *below)
    with pytest.raises(ImageCorrupt, match="too many links"):
        RootFiles().apply(Layer(tmp_path, entries))


def test_directories_behind_links_are_found_across_layers(
    build: Build, make_layer: MakeLayer
) -> None:
    lower = make_layer({"usr/lib/old": b"1", "lib": "usr/lib", "abs": "/usr/lib"})
    root = build(
        lower, make_layer({"lib/new": b"2", "abs/deep/er": b"2", "dangling": "some/where"})
    )
    assert names(root / "usr/lib") == {"old", "new", "deep", "deep/er"}
    assert (root / "lib").is_symlink()
    through = build(make_layer({"a": "some/where", "a/file": b""}))
    assert (through / "some/where/file").exists()


def test_a_directory_replaces_a_link(build: Build, make_layer: MakeLayer) -> None:
    root = build(make_layer({"a/x": b"", "b": "a"}), make_layer({"b": None, "b/y": b""}))
    assert names(root) == {"a", "a/x", "b", "b/y"}
    assert not (root / "b").is_symlink()


def test_a_path_through_a_loop_is_refused(build: Build, make_layer: MakeLayer) -> None:
    with pytest.raises(ImageCorrupt, match="link to nowhere"):
        build(make_layer({"a": "b", "b": "a", "a/file": b""}))


def test_a_tree_that_is_too_deep_is_refused(build: Build, make_layer: MakeLayer) -> None:
    with pytest.raises(ImageCorrupt, match="too deep"):
        build(make_layer({"d/" * 150 + "f": b""}))


def test_what_no_postgresql_needs_is_left_out(build: Build, make_layer: MakeLayer) -> None:
    kept = {
        "usr/share/doc/a/copyright": b"",
        "usr/share/doc/a/LICENSE.txt": b"",
        "usr/share/doc/postgresql/examples/x.sql": b"",
        "usr/share/licenses/a/x": b"",
        "usr/share/zoneinfo/Europe/Berlin": b"",
        "usr/share/postgresql/15/man/x": b"",
        "usr/share/locale/de/LC_MESSAGES/postgres.mo": b"",
        "var/lib/dpkg/status": b"",
    }
    left_out: dict[str, Any] = {
        "usr/share/doc/a/README": b"",
        "usr/share/doc/a/changelog.gz": b"",
        "usr/share/man/man1/psql.1": b"",
        "usr/share/info/x": b"",
        "usr/share/i18n/charmaps/UTF-8.gz": b"",
        "usr/share/zoneinfo/right/UTC": b"",
        "var/lib/apt/lists/x": b"",
        "var/lib/dpkg/info/x.list": b"",
        "var/cache/debconf/x": b"",
        "var/log/x": b"",
    }
    root = build(make_layer({**kept, **left_out}))
    assert {each for each in names(root) if (root / each).is_file()} == {*kept}


def test_a_hard_link_to_what_is_left_out_is_left_out(build: Build, make_layer: MakeLayer) -> None:
    layer = make_layer(
        {"usr/share/man/a": b""}, fill=lambda tree: tree.hard_link("a", "usr/share/man/a")
    )
    assert "a" not in names(build(layer))


def test_odd_names_are_written_as_they_are(build: Build, make_layer: MakeLayer) -> None:
    odd = ["with space", "new\nline", "ü", os.fsdecode(b"\xff\xfe"), "-rf", "a" * 255, "$(x)"]
    assert names(build(make_layer(dict.fromkeys(odd, b"")))) == {*odd}


@pytest.mark.parametrize("name", ["a" * 256, "d/" * 1600])
def test_names_that_no_file_system_has_are_refused(
    build: Build, make_layer: MakeLayer, name: str
) -> None:
    with pytest.raises(ImageCorrupt, match="a name of"):
        build(make_layer({name: b""}))


def test_a_sparse_file_stays_sparse(build: Build, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    with (tmp_path / "source" / "sparse").open("wb") as file:
        file.write(b"start")
        file.truncate(50_000_000)
    archive = tmp_path / "sparse.tar"
    command = ["tar", "--sparse", "-C", tmp_path / "source", "-cf", archive, "sparse"]
    subprocess.run(command, check=True)
    content = archive.read_bytes()
    digest = images.digest_of(content)
    root = build(images.Layer(digest, len(content), archive, "plain", digest))
    assert (root / "sparse").read_bytes() == b"start" + bytes(50_000_000 - 5)
    assert (root / "sparse").stat().st_blocks * 512 < 1_000_000


def test_a_layer_with_the_wrong_digest_is_refused(tmp_path: Path, make_layer: MakeLayer) -> None:
    layer = make_layer({"a": b""})
    wrong = images.digest_of(b"other")
    with pytest.raises(ImageCorrupt, match="is damaged: pull it again") as failure:
        unpack_layer(layer.chunks(), wrong, tmp_path / "layer")
    assert wrong in str(failure.value.details)
    assert read_layer(tmp_path / "layer") is None


@pytest.mark.parametrize("content", [b"x" * 600, b"\x1f\x8b" + b"x" * 600])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ImageCorrupt, match="is damaged"):
        unpack_layer([content], images.digest_of(content), tmp_path / "layer")


def test_a_layer_is_read_once_it_is_complete(tmp_path: Path, make_layer: MakeLayer) -> None:
    layer = make_layer({"a": b"", "b/c": b"x"})
    unpacked = unpack_layer(layer.chunks(), layer.diff_id, tmp_path / "layer")
    assert read_layer(tmp_path / "layer") is None
    complete_layer(tmp_path / "layer")
    assert read_layer(tmp_path / "layer") == unpacked


def test_an_unpacked_layer_of_another_version_is_not_read(
    tmp_path: Path, make_layer: MakeLayer
) -> None:
    layer = make_layer({"a": b""})
    unpack_layer(layer.chunks(), layer.diff_id, tmp_path / "layer")
    complete_layer(tmp_path / "layer")
    file = tmp_path / "layer" / "entries.json"
    for content in ('{"format": 0, "entries": []}', "[]", '{"format": 1}', "x"):
        file.write_text(content)
        assert read_layer(tmp_path / "layer") is None


def test_files_are_hard_links_to_the_layers(build: Build, make_layer: MakeLayer) -> None:
    layer = make_layer({"a": b"x"})
    root = build(layer)
    assert (root / "a").stat().st_nlink == 2


@pytest.mark.parametrize("reason", [errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EXDEV])
def test_a_file_system_without_hard_links_has_copies(
    build: Build, make_layer: MakeLayer, monkeypatch: pytest.MonkeyPatch, reason: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(reason, os.strerror(reason))

    layer = make_layer(fill=lambda tree: tree.file("a", b"x", 0o755))
    monkeypatch.setattr(root_files.os, "link", fail)
    root = build(layer)
    assert (root / "a").read_bytes() == b"x"
    assert (root / "a").stat().st_nlink == 1
    assert stat.S_IMODE((root / "a").stat().st_mode) == 0o755


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=3).map("/".join)
CHANGES = st.lists(
    st.tuples(st.sampled_from([Kind.FILE, Kind.DIRECTORY, Kind.WHITEOUT, Kind.OPAQUE]), PATHS),
    max_size=8,
)
Model = dict[str, str | None]


class ThroughFileError(Exception):
    """A path leads through a file."""


def apply_to_model(model: Model, entries: Iterable[Entry], content: str) -> None:
    """Change a dictionary of paths: None is a directory, a text the content of a file."""

    def remove(path: str, *, itself: bool) -> None:
        for each in [*model]:
            if each.startswith(f"{path}/") or (itself and each == path):
                del model[each]

    changes = [*entries]
    for entry in changes:
        if entry.kind in (Kind.WHITEOUT, Kind.OPAQUE):
            remove(entry.path, itself=entry.kind is Kind.WHITEOUT)
    for entry in changes:
        if entry.kind in (Kind.WHITEOUT, Kind.OPAQUE):
            continue
        parents = entry.path.split("/")[:-1]
        for end in range(1, len(parents) + 1):
            if model.setdefault("/".join(parents[:end]), None) is not None:
                raise ThroughFileError
        if entry.kind is Kind.FILE:
            remove(entry.path, itself=True)
            model[entry.path] = f"{content}{entry.content}"
        elif model.get(entry.path, "") is not None:
            model[entry.path] = None


@settings(max_examples=150, deadline=None)  # files on a busy disk take their time
@given(st.lists(CHANGES, min_size=1, max_size=4))
def test_layers_are_applied_as_a_simple_model_says(layers: list[list[tuple[Kind, str]]]) -> None:
    with tempfile.TemporaryDirectory() as place:
        model: Model = {}
        tree = RootFiles()
        for layer_number, changes in enumerate(layers):
            directory = Path(place, str(layer_number))
            (directory / "contents").mkdir(parents=True)
            entries = []
            for number, (kind, path) in enumerate(changes):
                entries.append(Entry(kind, path, content=number))
                (directory / "contents" / str(number)).write_text(f"{layer_number}:{number}")
            try:
                apply_to_model(model, entries, f"{layer_number}:")
            except ThroughFileError:
                with pytest.raises(ImageCorrupt):
                    tree.apply(Layer(directory, tuple(entries)))
                return
            tree.apply(Layer(directory, tuple(entries)))
        root = Path(place, "root")
        tree.write(root)
        written = {each: root / each for each in names(root)}
        assert {
            name: None if path.is_dir() else path.read_text() for name, path in written.items()
        } == model
