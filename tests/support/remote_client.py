"""A client on another machine that sends the files of a changelog when it is asked for them."""

import hashlib
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import SourceInputsMissing
from sqlrs_engine.prepare.liquibase.staged_changelogs import StagedChangelogs
from sqlrs_engine.prepare.stages import LiquibaseStage
from sqlrs_engine.sources import Blobs, Manifest, Trees

ROUNDS = 8


class RemoteClient:
    """A client that ends, as sqlrs does, when it is asked for what it does not have."""

    def __init__(self, directory: Path, files: dict[str, str], root: str = "/c/app") -> None:
        self.files = files
        self.blobs = Blobs(directory / "blobs")
        self.trees = Trees(directory / "trees", self.blobs)
        self.staged = StagedChangelogs(self.blobs, self.trees)
        self.manifest: dict[str, Any] = {
            "workspace_ref": {"root_path": root, "work_dir": root},
            "files": {},
            "directories": {},
        }
        self.rounds = 0

    def stage(self, *args: str, **fields: Any) -> LiquibaseStage:
        body = {"liquibase_args": ["update", *args], **fields}
        return LiquibaseStage.from_json(body, Manifest.from_json(self.manifest))

    def sync(self, *args: str, **fields: Any) -> LiquibaseStage:
        """Answer until nothing is missing; return the stage that is complete."""
        while True:
            stage = self.stage(*args, **fields)
            assert stage.source_manifest is not None
            try:
                self.staged.files(stage, stage.source_manifest)
            except SourceInputsMissing as error:
                self.rounds += 1
                self.answer(error.as_dict())
            else:
                assert self.rounds <= ROUNDS
                return stage

    def needed(self, *args: str, **fields: Any) -> set[str]:
        stage = self.sync(*args, **fields)
        assert stage.source_manifest is not None
        return set(self.staged.files(stage, stage.source_manifest))

    def answer(self, missing: dict[str, Any]) -> None:
        for entry in missing.get("missing_manifest_entries", ()):
            path = entry["path"]
            if entry["kind"] == "file_hash":
                self.manifest["files"][path] = f"sha256:{self.digest(path)}"
            else:
                self.manifest["directories"][path] = {"entries": self.list(path)}
        for blob in missing.get("missing_blobs", ()):
            content = self.files[blob["path"]].encode()
            with self.blobs.receive(self.digest(blob["path"]), 1_000_000) as upload:
                upload.write(content)
                upload.finish()

    def digest(self, path: str) -> str:
        return hashlib.sha256(self.files[path].encode()).hexdigest()

    def list(self, directory: str) -> list[dict[str, str]]:
        prefix = "" if directory == "." else f"{directory}/"
        below = [name.removeprefix(prefix) for name in self.files if name.startswith(prefix)]
        assert below, f"no such directory: {directory}"
        kinds = {name.partition("/")[0]: "directory" if "/" in name else "file" for name in below}
        return [{"name": name, "kind": kind} for name, kind in kinds.items()]
