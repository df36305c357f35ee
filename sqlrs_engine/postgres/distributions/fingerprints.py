"""The version and the hash of a server program, cached by file identity.

Taking a fingerprint costs a process and a read of some 10 MB, so answers are kept in memory and in
a small JSON file, keyed by path and valid while size, modification time and inode are the same.
"""

import hashlib
import json
import logging
import os
import re
import subprocess
import tempfile
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sqlrs_engine.errors import ClusterFailed

_VERSION = re.compile(r"\(PostgreSQL\) ((\d+)(?:\.\d+|beta\d+|rc\d+|devel)?)")
TIMEOUT_SECONDS = 20

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """``banner`` is what ``postgres --version`` prints, ``build`` the program's SHA-256."""

    banner: str
    build: str

    @property
    def version(self) -> str:
        """The version in the banner, such as ``15.18``."""
        return _parse(self.banner)[0]

    @property
    def major(self) -> int:
        """The major version in the banner."""
        return _parse(self.banner)[1]


class Fingerprints:
    """Fingerprints of server programs, cached in the file ``path``; thread-safe."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] | None = None

    def of(self, program: Path) -> Fingerprint:
        """Return the fingerprint of a ``postgres`` program.

        Raises ClusterFailed when it does not run, OSError when it cannot be read.
        """
        status = program.stat()
        identity = {"size": status.st_size, "mtime": status.st_mtime_ns, "inode": status.st_ino}
        with self._lock:
            known = self._load().get(str(program))
            if known is not None and all(known.get(key) == identity[key] for key in identity):
                return Fingerprint(known["banner"], known["build"])
            fingerprint = take_fingerprint(program)
            self._load()[str(program)] = {**identity, **asdict(fingerprint)}
            self._save()
        return fingerprint

    def _load(self) -> dict[str, dict[str, Any]]:
        if self._known is None:
            self._known = _read(self._path)
        return self._known

    def _save(self) -> None:
        directory = self._path.parent
        if not directory.parent.is_dir():
            return  # there is no store yet, and a search must not create one
        text = json.dumps(self._known, indent=1, sort_keys=True)
        try:
            directory.mkdir(exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=directory, prefix=".fingerprints-")
            temporary = Path(name)
            try:
                with os.fdopen(descriptor, "w") as file:
                    file.write(text)
                temporary.replace(self._path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
        except OSError as error:
            # Only a cache: without it the next start takes a little longer.
            _log.warning("cannot keep the fingerprints of PostgreSQL programs: %s", error)


def take_fingerprint(program: Path) -> Fingerprint:
    """Run and read a ``postgres`` program; raises as ``Fingerprints.of`` does."""
    try:
        answer = subprocess.run(
            [program, "--version"],
            env={"LANG": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ClusterFailed(f"{program} does not answer: check its installation") from error
    banner = answer.stdout.strip()
    if answer.returncode != 0 or _VERSION.search(banner) is None:
        raise ClusterFailed(
            f"{program} does not run: check its installation",
            (answer.stderr or answer.stdout).strip(),
        )
    with program.open("rb") as file:
        build = hashlib.file_digest(file, "sha256").hexdigest()
    return Fingerprint(banner, build)


def _parse(banner: str) -> tuple[str, int]:
    version = _VERSION.search(banner)
    if version is None:
        raise ClusterFailed("unknown version of PostgreSQL: install a supported version", banner)
    return version[1], int(version[2])


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        known = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _log.warning("ignoring the fingerprints in %s: %s", path, error)
        return {}
    if not isinstance(known, dict):
        return {}
    return {name: entry for name, entry in known.items() if _is_entry(entry)}


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("build"), str)
        and isinstance(entry.get("banner"), str)
        and _VERSION.search(entry["banner"]) is not None
    )
