"""The stages of a prepare request: scripts, a changelog, a dump or a command, as submitted."""

import difflib
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from sqlrs_engine.errors import EngineError, InvalidArgument
from sqlrs_engine.sources import Manifest, paths
from sqlrs_engine.store.records import Json

from . import stdin


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage(ABC):
    """Steps that one program makes; absent fields and ``null`` are the same.

    ``work_dir`` is the directory in which the program runs, as an absolute path. ``FIELDS`` are the
    names of the fields in JSON.
    """

    kind: ClassVar[str]
    FIELDS: ClassVar[tuple[str, ...]]

    work_dir: str | None = None

    @property
    def is_remote(self) -> bool:
        """Whether the paths are those of another machine."""
        return False

    @property
    def lacks_work_dir(self) -> bool:
        """Whether ``work_dir`` is to be a directory of this machine and cannot be entered."""
        if not self.work_dir or self.is_remote:
            return False
        # Path.is_dir raises where a directory on the way is not open, before 3.14.
        is_directory = os.path.isdir(self.work_dir)  # noqa: PTH112
        return not (is_directory and os.access(self.work_dir, os.X_OK))

    @abstractmethod
    def to_json(self) -> Json:
        """Return the fields that are set, without the kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentStage(Stage):
    """A stage whose files may be on another machine, to which all paths then belong.

    Its ``source_manifest`` lists them. A chain has none.
    """

    source_manifest: Manifest | None = None

    @property
    def is_remote(self) -> bool:
        """Whether the paths are those of another machine."""
        return self.source_manifest is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PsqlStage(SentStage):
    """psql scripts and commands: each ``-f`` and each ``-c`` is a step.

    ``stdin`` is what ``-f -`` reads, as the module ``stdin`` describes.
    """

    kind = "psql"
    FIELDS = ("psql_args", "work_dir", "stdin", "stdin_base64")

    psql_args: tuple[str, ...] = ()
    stdin: str | None = None

    @classmethod
    def from_json(cls, body: Json, manifest: Manifest | None = None) -> "PsqlStage":
        """Read a stage. Raises InvalidArgument."""
        return cls(
            psql_args=tuple(body.get("psql_args") or ()),
            work_dir=_work_dir(body, remote=manifest is not None),
            stdin=stdin.from_json(body.get("stdin"), body.get("stdin_base64")),
            source_manifest=manifest,
        )

    def to_json(self) -> Json:
        """Return the fields that are set."""
        return _set(
            psql_args=list(self.psql_args), work_dir=self.work_dir, **stdin.to_json(self.stdin)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LiquibaseStage(SentStage):
    """A Liquibase changelog: each of its changesets is a step."""

    kind = "lb"
    FIELDS = (
        "liquibase_args",
        "liquibase_exec",
        "liquibase_exec_mode",
        "liquibase_env",
        "work_dir",
    )

    liquibase_args: tuple[str, ...] = ()
    liquibase_exec: str | None = None
    liquibase_exec_mode: str | None = None
    liquibase_env: Json | None = None

    @classmethod
    def from_json(cls, body: Json, manifest: Manifest | None = None) -> "LiquibaseStage":
        """Read a stage. Raises InvalidArgument."""
        return cls(
            liquibase_args=tuple(body.get("liquibase_args") or ()),
            liquibase_exec=body.get("liquibase_exec"),
            liquibase_exec_mode=body.get("liquibase_exec_mode"),
            liquibase_env=body.get("liquibase_env"),
            work_dir=_work_dir(body, remote=manifest is not None),
            source_manifest=manifest,
        )

    def to_json(self) -> Json:
        """Return the fields that are set."""
        return _set(
            liquibase_args=list(self.liquibase_args),
            liquibase_exec=self.liquibase_exec,
            liquibase_exec_mode=self.liquibase_exec_mode,
            liquibase_env=self.liquibase_env,
            work_dir=self.work_dir,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DumpStage(Stage):
    """A dump that pg_dump made: one step restores it.

    Either ``path`` names a file or a directory, or ``dump_id`` one that the state store keeps.
    ``restore_args`` are options of pg_restore. ``create_roles`` is whether roles that the dump
    mentions and the cluster lacks are created.
    """

    kind = "dump"
    FIELDS = ("path", "dump_id", "restore_args", "create_roles")

    path: str | None = None
    dump_id: str | None = None
    restore_args: tuple[str, ...] = ()
    create_roles: bool = True

    @classmethod
    def from_json(cls, body: Json) -> "DumpStage":
        """Read a stage. Raises InvalidArgument without exactly one dump."""
        path, dump_id = body.get("path"), body.get("dump_id")
        if bool(path) == bool(dump_id):
            raise InvalidArgument("a dump stage needs either path or dump_id: give one of them")
        if path and not Path(path).is_absolute():
            raise InvalidArgument("the path of a dump must be absolute", path)
        create_roles = body.get("create_roles")
        return cls(
            path=path or None,
            dump_id=dump_id or None,
            restore_args=tuple(body.get("restore_args") or ()),
            create_roles=True if create_roles is None else create_roles,
        )

    def to_json(self) -> Json:
        """Return the fields that are set."""
        fields = _set(path=self.path, dump_id=self.dump_id, restore_args=list(self.restore_args))
        return fields if self.create_roles else {**fields, "create_roles": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandStage(Stage):
    """A program that migrates the database which its environment names: one step runs it.

    ``inputs`` are patterns of files below ``work_dir``, None if the request has none. ``env``
    counts in the state's id; ``base_env`` is where the client finds its programs and does not.
    ``version_command`` prints what identifies the program, in place of its file's content. With
    ``trace_inputs`` the step runs in any case, and reports which files it opens.
    """

    kind = "command"
    FIELDS = (
        "argv",
        "inputs",
        "env",
        "base_env",
        "work_dir",
        "version_command",
        "trace_inputs",
    )

    argv: tuple[str, ...] = ()
    inputs: tuple[str, ...] | None = None
    env: Json = field(default_factory=dict)
    base_env: Json = field(default_factory=dict)
    version_command: tuple[str, ...] = ()
    trace_inputs: bool = False

    @classmethod
    def from_json(cls, body: Json) -> "CommandStage":
        """Read a stage. Raises InvalidArgument without a program or a working directory."""
        argv = tuple(body.get("argv") or ())
        if not argv or not argv[0]:
            raise InvalidArgument("a command stage needs argv: the program and its arguments")
        work_dir = _work_dir(body)
        if work_dir is None:
            raise InvalidArgument("a command stage needs work_dir: the directory it runs in")
        inputs = body.get("inputs")
        return cls(
            argv=argv,
            inputs=None if inputs is None else tuple(inputs),
            env=body.get("env") or {},
            base_env=body.get("base_env") or {},
            work_dir=work_dir,
            version_command=tuple(body.get("version_command") or ()),
            trace_inputs=bool(body.get("trace_inputs")),
        )

    def to_json(self) -> Json:
        """Return the fields that are set."""
        fields = _set(
            argv=list(self.argv),
            env=self.env,
            base_env=self.base_env,
            work_dir=self.work_dir,
            version_command=list(self.version_command),
            trace_inputs=self.trace_inputs,
        )
        return fields if self.inputs is None else {**fields, "inputs": list(self.inputs)}


_KINDS = {each.kind: each for each in (PsqlStage, LiquibaseStage, DumpStage, CommandStage)}


def stage_from_json(body: Json, place: str) -> Stage:
    """Read a stage of a chain; ``place`` names it in errors. Raises InvalidArgument."""
    kind = body.get("kind") or ""
    stage = _KINDS.get(kind)
    if stage is None:
        raise InvalidArgument(
            "unknown kind of a stage", f"{place}: {kind!r}: use one of {', '.join(_KINDS)}"
        )
    given = {name: value for name, value in body.items() if value is not None and name != "kind"}
    for name in given:
        if name not in stage.FIELDS:
            near = difflib.get_close_matches(name, stage.FIELDS, 1)
            hint = f"did you mean {near[0]}?" if near else f"it has {', '.join(stage.FIELDS)}"
            raise InvalidArgument(f"unknown field of a {kind} stage", f"{place}: {name}: {hint}")
    with naming(place):
        return stage.from_json(given)


@contextmanager
def naming(place: str) -> Iterator[None]:
    """Name the place of a stage in the details of an error that the block raises."""
    try:
        yield
    except EngineError as error:
        error.details = ": ".join(filter(None, (place, error.details)))
        raise


def _set(**fields: Any) -> Json:
    return {name: value for name, value in fields.items() if value not in (None, [], {}, False)}


def _work_dir(body: Json, *, remote: bool = False) -> str | None:
    path: str | None = body.get("work_dir")
    if not path:
        return None
    if not (paths.is_absolute(path) if remote else Path(path).is_absolute()):
        raise InvalidArgument("work_dir must be absolute", path)
    return path
