"""Manifests: what clients on other machines say about their files and directories."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.store.records import Json

from . import paths

HASH = "sha256:"
MAX_ENTRIES = 100_000

_DIRECTORY = "directory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A ``source_manifest``; absent fields and ``null`` mean the same as empty ones.

    ``root`` and ``work_dir`` are absolute paths in the client's own syntax. ``files`` maps keys to
    SHA-256 digests. ``directories`` maps the key of a directory to the names in it, and
    ``subdirectories`` to the names of its subdirectories. Both have complete listings only, since
    an incomplete one does not show that a file is missing.
    """

    root: str | None = None
    work_dir: str | None = None
    files: Mapping[str, str] = field(default_factory=dict)
    directories: Mapping[str, frozenset[str]] = field(default_factory=dict)
    subdirectories: Mapping[str, frozenset[str]] = field(default_factory=dict)
    _sorted: Sequence[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_sorted", sorted({*self.files, *self.directories}))

    @classmethod
    def from_json(cls, body: Json) -> "Manifest":
        """Read a manifest that has been validated against the API document; ignore unknown fields.

        Raises InvalidArgument for paths that are absolute, lead out of the workspace, or cannot
        exist at the same time, and when there are too many entries.
        """
        workspace = body.get("workspace_ref") or {}
        files: Json = body.get("files") or {}
        listings: Json = body.get("directories") or {}
        names = sum(len(listing.get("entries") or ()) for listing in listings.values())
        if len(files) + len(listings) + names > MAX_ENTRIES:
            raise InvalidArgument(
                "source_manifest is too large", f"send at most {MAX_ENTRIES} entries"
            )
        complete = {
            paths.key(key): listing.get("entries") or ()
            for key, listing in listings.items()
            if listing.get("complete") is not False
        }
        manifest = cls(
            root=_absolute("root_path", workspace.get("root_path")),
            work_dir=_absolute("work_dir", workspace.get("work_dir")),
            files={paths.key(key): value.removeprefix(HASH) for key, value in files.items()},
            directories={key: _names(entries) for key, entries in complete.items()},
            subdirectories={
                key: frozenset(each["name"] for each in entries if each.get("kind") == _DIRECTORY)
                for key, entries in complete.items()
            },
        )
        for file in manifest.files:
            if file == paths.ROOT or manifest._has_below(file):
                raise InvalidArgument(
                    "invalid path in source_manifest",
                    f"{file} is a directory: list it under directories",
                )
        return manifest

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as JSON that ``from_json`` can read."""
        return {
            "workspace_ref": {"root_path": self.root, "work_dir": self.work_dir},
            "files": {name: HASH + digest for name, digest in self.files.items()},
            "directories": {
                name: {
                    "entries": [
                        {"name": entry, "kind": self._kind(name, entry)}
                        for entry in sorted(entries)
                    ]
                }
                for name, entries in self.directories.items()
            },
        }

    def _kind(self, directory: str, name: str) -> str:
        return _DIRECTORY if name in self.subdirectories.get(directory, ()) else "file"

    def key_of(self, path: str) -> str:
        """Return the key of an absolute path of the client.

        Raises InvalidArgument when the path is outside the workspace or the workspace is unknown.
        """
        if self.root is None:
            raise InvalidArgument(
                "source_manifest lacks workspace_ref.root_path",
                f"send it: it locates {path} in the workspace",
            )
        return paths.key_in(self.root, path)

    def holds(self, key: str) -> bool | str:
        """Return whether a path exists, or the key of the directory whose listing would show it."""
        unlisted: str | None = None
        while not self._is_known(key):
            above = paths.parent(key)
            names = self.directories.get(above)
            if names is not None and key.rpartition("/")[2] not in names:
                return False
            if names is not None:
                break
            key = unlisted = above
        return unlisted or True

    def _is_known(self, key: str) -> bool:
        is_directory = key == paths.ROOT or key in self.directories or self._has_below(key)
        return is_directory or key in self.files

    def _has_below(self, key: str) -> bool:
        """Return whether a known file or directory lies below ``key``."""
        start = f"{key}/"
        at = bisect_left(self._sorted, start)
        return at < len(self._sorted) and self._sorted[at].startswith(start)


def digests(body: Json | None) -> Iterable[str]:
    """Return the digests of all files in a JSON manifest; none if it has no files."""
    files = (body or {}).get("files")
    return [value.removeprefix(HASH) for value in files.values()] if files else []


def _names(entries: Iterable[Json]) -> frozenset[str]:
    names = frozenset(entry["name"] for entry in entries)
    for name in names:
        if "/" in name or name in (".", ".."):
            raise InvalidArgument("invalid name in source_manifest", name[:200])
    return names


def _absolute(field_name: str, path: str | None) -> str | None:
    if not path:
        return None
    if not paths.is_absolute(path):
        raise InvalidArgument(f"workspace_ref.{field_name} must be absolute", path)
    return path
