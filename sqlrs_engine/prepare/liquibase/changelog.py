"""A changelog as Liquibase has read it: its changesets and their files."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlrs_engine.store.records import Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Changeset:
    """A changeset that the command would run on a new database.

    ``files`` are the digests of the files that it reads itself, by path; ``parameters`` are the
    values of the parameters that it may use. ``fields`` are everything else that can change its
    effect.
    """

    id: str
    author: str
    path: str
    fields: Mapping[str, Any]
    files: Mapping[str, str]
    parameters: Mapping[str, Any]

    @property
    def name(self) -> str:
        """``id::author::path``, as Liquibase writes it in logs."""
        return f"{self.id}::{self.author}::{self.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lookup:
    """A path that Liquibase looked up in its search path, and the files it found.

    With ``directory`` it looked for all files below.
    """

    path: str
    directory: bool
    found: tuple[Path, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Changelog:
    """A changelog; ``files`` are the SHA-256 digests of all files that Liquibase read.

    ``archived``: some files came out of archives, whose content cannot be checked later.
    ``common`` counts for all changesets: the versions of Liquibase and its driver, and every
    setting that is not the default. ``preconditions`` are the changelog's own, ``parameters`` the
    values of the parameters that they may use. ``listed`` are directories whose entries count,
    because cells of data may name files in them.
    """

    common: Mapping[str, Any]
    preconditions: str | None
    parameters: Mapping[str, Any]
    archived: bool
    changesets: tuple[Changeset, ...]
    files: Mapping[Path, str]
    locations: tuple[Path, ...]
    lookups: tuple[Lookup, ...]
    listed: tuple[Path, ...]

    @classmethod
    def from_json(cls, plan: Json) -> "Changelog":
        """Read the answer of a session to ``plan``."""
        digests = {file["uri"]: file["digest"] for file in plan["files"]}
        return cls(
            common={
                "liquibase": plan["version"],
                "liquibase driver": plan["driver"],
                **plan["settings"],
            },
            preconditions=plan["preconditions"],
            parameters=plan["parameters"],
            archived=not all(map(_is_file, digests)),
            changesets=tuple(_changeset(each, digests) for each in plan["changesets"]),
            files={path_of(uri): each for uri, each in digests.items() if _is_file(uri)},
            locations=tuple(map(Path, plan["locations"])),
            lookups=tuple(
                Lookup(
                    path=each["path"],
                    directory=each["directory"],
                    found=tuple(map(path_of, each["found"])),
                )
                for each in plan["looked"]
            ),
            listed=tuple(map(Path, plan["listed"])),
        )


def _changeset(planned: Json, digests: Mapping[str, str]) -> Changeset:
    fields = dict(planned)
    del fields["files"], fields["parameters"]
    return Changeset(
        id=planned["id"],
        author=planned["author"],
        path=planned["path"],
        fields=fields,
        files={str(path_of(uri)): digests[uri] for uri in planned["files"]},
        parameters=planned["parameters"],
    )


def path_of(uri: str) -> Path:
    """Return the path of a file's URI; for a file inside an archive, the archive's."""
    parts = urlsplit(uri.removeprefix("jar:").partition("!")[0])
    return Path(unquote(parts.path))


def _is_file(uri: str) -> bool:
    return uri.startswith("file:")
