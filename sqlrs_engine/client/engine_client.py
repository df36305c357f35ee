"""A client of the engine's HTTP API: finds or starts the engine and calls it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import ndjson

from sqlrs_engine import durations
from sqlrs_engine.daemon import engine_file
from sqlrs_engine.daemon.engine_file import EngineRecord
from sqlrs_engine.errors import EngineError, InvalidArgument, Unavailable

from .proven_transport import ProvenTransport

_START_SECONDS = 60.0
_POLL_SECONDS = 0.03


class ApiError(EngineError):
    """The engine refused a request; ``http_status`` is the status of its response."""

    def __init__(self, http_status: int, message: str, details: str | None = None) -> None:
        super().__init__(message, details)
        self.http_status = http_status


class EngineClient:
    """Calls an engine. Close it, or use it as a context manager."""

    def __init__(self, base_url: str, token: str, *, timeout: float = 60.0) -> None:
        self._http = httpx.Client(
            base_url=base_url,
            headers={"Authorization": f"Bearer {token}"},
            timeout=timeout,
            trust_env=False,  # no proxy stands between a client and the loopback address
            transport=ProvenTransport(token),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        params: Mapping[str, str | bool | None] | None = None,
        accept: tuple[int, ...] = (),
    ) -> Any:
        """Call ``/v1<path>`` and return the decoded response.

        Parameters that are None or False are left out.

        Raises:
            ApiError: The status is 400 or above and not in ``accept``.
            Unavailable: The engine does not answer.
            InvalidArgument: A text cannot be encoded as UTF-8.
        """
        given = (params or {}).items()
        query = {key: _text(value) for key, value in given if value not in (None, False)}
        try:
            response = self._http.request(
                method, f"/v1{path}", json=body, params=query, follow_redirects=True
            )
        except httpx.HTTPError as error:
            raise Unavailable(
                "the engine does not answer: check it with `sqlrs-engine status`", str(error)
            ) from error
        except UnicodeEncodeError as error:
            text = repr(error.object)[:200]
            raise InvalidArgument(
                "an argument is not UTF-8: retype it, or rename the file", text
            ) from error
        if response.status_code >= 400 and response.status_code not in accept:
            raise _api_error(response)
        return response.json() if response.content else None

    def get(self, path: str, **params: str | bool | None) -> Any:
        """GET ``/v1<path>``."""
        return self.call("GET", path, params=params)

    def upload(self, path: str, pieces: Iterable[bytes], params: Mapping[str, str | None]) -> Any:
        """POST pieces of unknown size to ``/v1<path>`` and return the decoded response.

        Whatever ``pieces`` raise breaks the upload off, and the engine keeps nothing of it.

        Raises:
            ApiError: The engine refused the upload.
            Unavailable: The engine does not answer.
        """
        query = {key: value for key, value in params.items() if value is not None}
        # The engine answers when all is on the disk, and a piece may be long in coming.
        patient = httpx.Timeout(60.0, read=None, write=None)
        headers = {"Content-Type": "application/octet-stream"}
        try:
            response = self._http.post(
                f"/v1{path}", content=iter(pieces), params=query, headers=headers, timeout=patient
            )
        except httpx.HTTPError as error:
            raise Unavailable(
                "the connection to the engine is lost: start the engine again and repeat this",
                str(error),
            ) from error
        if response.status_code >= 400:
            raise _api_error(response)
        return response.json()

    def events(self, job_id: str) -> Iterator[dict[str, Any]]:
        """Yield the events of a job from its first to its last, as they happen."""
        path = f"/v1/prepare-jobs/{job_id}/events"
        endless = httpx.Timeout(10.0, read=None)
        try:
            with self._http.stream("GET", path, timeout=endless) as response:
                if response.status_code >= 400:
                    response.read()
                    raise _api_error(response)
                yield from ndjson.reader(_lines(response.iter_bytes()))
        except httpx.HTTPError as error:
            raise Unavailable(
                "the connection to the engine is lost: start the engine again, and its jobs resume",
                str(error),
            ) from error


def find(path: Path) -> EngineRecord | None:
    """Return the engine that the engine file names, None unless the same engine answers.

    Raises:
        Conflict: The engine file belongs to another user.
    """
    engine_file.check_owner(path)
    record = engine_file.read(path)
    if record is None or not _alive(record.pid):
        return None
    try:
        with EngineClient(record.base_url, record.auth_token, timeout=5.0) as engine:
            health = engine.get("/health")
    except (EngineError, ValueError):
        return None
    return record if health.get("instanceId") == record.instance_id else None


def connect(path: Path) -> EngineClient:
    """Return a client of the running engine. Raises Unavailable when none is running."""
    record = find(path)
    if record is None:
        raise Unavailable(
            "no engine is running",
            f"{path} names none; start one with `sqlrs-engine serve`",
        )
    return EngineClient(record.base_url, record.auth_token)


def connect_or_start(
    path: Path, store: Path, *, idle_timeout: float, environ: Mapping[str, str]
) -> EngineClient:
    """Return a client of the running engine; start one in the background when none is running.

    ``idle_timeout`` is in seconds. ``environ`` is the environment of the new engine.

    Raises:
        Unavailable: The engine did not start; the details quote its output.
    """
    record = find(path) or _start(path, store, idle_timeout, environ)
    return EngineClient(record.base_url, record.auth_token)


def _start(
    path: Path, store: Path, idle_timeout: float, environ: Mapping[str, str]
) -> EngineRecord:
    engine_file.make_directory(path.parent)
    before = engine_file.read(path)
    # -P: a file in the current directory must not replace one of the engine's modules.
    command = [sys.executable, "-P", "-m", "sqlrs_engine", "--run-dir", str(path.parent / "run")]
    command += ["--listen", "127.0.0.1:0", "--write-engine-json", str(path)]
    command += ["--idle-timeout", durations.format(idle_timeout)]
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={
                # Passwords among them: the engine forgets them, but /proc would not.
                **{name: value for name, value in environ.items() if not name.startswith("PG")},
                "SQLRS_STATE_STORE": str(store),
            },
        )
        deadline = time.monotonic() + _START_SECONDS
        while True:
            record = find(path)
            if record is not None:
                return record
            try:
                code = process.wait(_POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if time.monotonic() < deadline:
                    continue
                process.kill()
                code = process.wait()
            # Another client has started an engine at the same moment: use that one, once it
            # answers.
            if _replaced(path, before) and time.monotonic() < deadline:
                time.sleep(_POLL_SECONDS)
                continue
            output.seek(0)
            words = output.read().decode(errors="replace").strip()
            raise Unavailable(
                "the engine did not start",
                words or f"exit code {code}; read its log, logs/engine.log",
            )


def _replaced(path: Path, before: EngineRecord | None) -> bool:
    """Return whether a live engine, which may not answer yet, has replaced the engine file."""
    record = engine_file.read(path)
    return record is not None and record != before and _alive(record.pid)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _text(value: str | bool | None) -> str:
    return "true" if value is True else str(value)


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    r"""Split at ``\n`` alone: JSON text may contain other separators of str.splitlines."""
    rest = b""
    for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode()
    if rest:
        yield rest.decode()


def _api_error(response: httpx.Response) -> ApiError:
    try:
        envelope = response.json()
        message, details = str(envelope["message"]), envelope.get("details")
    except (ValueError, KeyError, TypeError):
        message, details = f"unexpected answer {response.status_code}", response.text[:200] or None
    return ApiError(response.status_code, message, details)
