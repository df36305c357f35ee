"""Every failure that a user can cause, with its stable code and HTTP status.

::

    EngineError                 internal_error                500
    ├── InvalidArgument         invalid_argument              400
    ├── Unauthorized            unauthorized                  401
    ├── Forbidden               forbidden                     403
    ├── NotFound                not_found                     404
    ├── MethodNotAllowed        method_not_allowed            405
    ├── NotAcceptable           not_acceptable                406
    ├── RequestTimeout          request_timeout               408
    ├── Conflict                conflict                      409
    ├── SourceInputsMissing     source_inputs_missing         409
    ├── PayloadTooLarge         payload_too_large             413
    │   └── SourceBlobTooLarge  source_blob_too_large         413
    ├── UnsupportedMediaType    unsupported_media_type        415
    ├── Misdirected             misdirected_request           421
    ├── HeadersTooLarge         headers_too_large             431
    ├── NotImplementedYet       not_implemented               501
    ├── Unavailable             unavailable                   503
    ├── CacheUnavailable        cache_enforcement_unavailable 503
    ├── CacheLimitTooSmall      cache_limit_too_small         507
    ├── StorageFull             cache_full_unreclaimable      507
    ├── ImageUnavailable        image_unavailable             409
    ├── ImageUnusable           image_unusable                409
    ├── ImageCorrupt            image_corrupt                 422
    ├── RegistryUnauthorized    registry_unauthorized         409
    ├── RegistryUnavailable     registry_unavailable          502
    ├── LocaleUnavailable       locale_unavailable            409
    ├── LiquibaseUnavailable    liquibase_unavailable         409
    ├── DumpMissing             dump_missing                  409
    ├── ProgramUnavailable      program_unavailable           409
    ├── ProjectFileInvalid      project_file_invalid          400
    ├── DatabaseUnreachable     database_unreachable          502
    ├── DatabaseTooLarge        database_too_large            507
    ├── DumpFailed              dump_failed                   422
    ├── StoreDamaged            store_damaged                 500
    ├── OsUserUnknown           os_user_unknown               409
    ├── ClusterFailed           cluster_failed                500
    ├── StepFailed              step_failed                   422
    ├── DumpUnusable            dump_unusable                 422
    ├── IdempotencyKeyReused    idempotency_key_reused        422
    └── Cancelled               cancelled                     409

The last five mostly appear in the ``error`` of a failed job rather than as an HTTP response.
``ProjectFileInvalid`` to ``DumpFailed`` appear in neither: only clients read project files and live
databases. ``message`` says what happened, then what to do; ``details`` gives the specifics (the
argument, the path, PostgreSQL's error).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

DISK_FULL = (
    "the disk of the state store is full: delete states or instances (sqlrs-engine rm), "
    "or free disk space"
)
ENGINE_FAILED = "the engine failed: read its log for the cause"
ENGINE_STOPPING = "the engine is stopping: start it again, then repeat the request"


class EngineError(Exception):
    """A failure with a stable ``code``; the root of the tree above.

    ``facts`` are specifics as values, for programs; without ``details``, their JSON text takes its
    place, for clients that show only strings.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500

    def __init__(
        self, message: str, details: str | None = None, *, facts: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = _utf8(message)
        self.details = (
            json.dumps(facts) if details is None and facts else details and _utf8(details)
        )
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.message}: {self.details}" if self.details else self.message

    def as_dict(self) -> dict[str, Any]:
        """The error envelope: ``{code, message, details?, facts?}``, and what ``more`` adds."""
        envelope: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.details:
            envelope["details"] = self.details
        if self.facts:
            envelope["facts"] = dict(self.facts)
        return envelope | self.more()

    def more(self) -> dict[str, Any]:
        """Return the additional fields of this kind of error, usually none."""
        return {}


class InvalidArgument(EngineError):
    """The request is invalid, whatever the engine's state."""

    code = "invalid_argument"
    status = 400


class Unauthorized(EngineError):
    """The request has no bearer token, or a token of another engine."""

    code = "unauthorized"
    status = 401


class Forbidden(EngineError):
    """The request comes from a web page or another site."""

    code = "forbidden"
    status = 403


class NotFound(EngineError):
    """The object that the request names does not exist."""

    code = "not_found"
    status = 404

    @classmethod
    def of(cls, noun: str, reference: str) -> Self:
        """Return the error for an instance, a state, a job or a name that does not exist."""
        return cls(f"{noun} not found", f"{reference}: list the {noun}s to see which exist")


class MethodNotAllowed(EngineError):
    """The path exists, but does not support the method."""

    code = "method_not_allowed"
    status = 405


class NotAcceptable(EngineError):
    """The Accept header admits no media type the operation produces."""

    code = "not_acceptable"
    status = 406


class RequestTimeout(EngineError):
    """The client did not finish sending its request in time."""

    code = "request_timeout"
    status = 408


class Conflict(EngineError):
    """The request is valid, but the current situation forbids it."""

    code = "conflict"
    status = 409


class SourceInputsMissing(EngineError):
    """The client has to describe or upload more of its files, then repeat the request.

    ``entries`` are what its manifest lacks, ``blobs`` the contents that are not there.
    """

    code = "source_inputs_missing"
    status = 409

    def __init__(
        self,
        message: str,
        details: str | None = None,
        *,
        entries: Sequence[dict[str, str]] = (),
        blobs: Sequence[dict[str, str]] = (),
    ) -> None:
        super().__init__(message, details)
        self.entries = entries
        self.blobs = blobs

    def more(self) -> dict[str, Any]:
        """Return the two lists without the empty ones."""
        lists = {"missing_manifest_entries": self.entries, "missing_blobs": self.blobs}
        return {name: list(values) for name, values in lists.items() if values}


class PayloadTooLarge(EngineError):
    """The request body is larger than the engine accepts."""

    code = "payload_too_large"
    status = 413


class SourceBlobTooLarge(PayloadTooLarge):
    """The file is larger than ``sources.blobs.maxBytes`` allows."""

    code = "source_blob_too_large"
    status = 413


class UnsupportedMediaType(EngineError):
    """The request body is not JSON."""

    code = "unsupported_media_type"
    status = 415


class Misdirected(EngineError):
    """The Host header names a host this engine does not serve."""

    code = "misdirected_request"
    status = 421


class IdempotencyKeyReused(EngineError):
    """The ``Idempotency-Key`` belongs to another request."""

    code = "idempotency_key_reused"
    status = 422

    def __init__(
        self,
        message: str = "the Idempotency-Key belongs to another request",
        details: str | None = "repeat the request unchanged, or use a new key for a new request",
    ) -> None:
        super().__init__(message, details)


class HeadersTooLarge(EngineError):
    """The request's target and headers are larger than the engine accepts."""

    code = "headers_too_large"
    status = 431


class NotImplementedYet(EngineError):
    """The API document has the operation, but this version does not."""

    code = "not_implemented"
    status = 501


class Unavailable(EngineError):
    """The engine is stopping or has no room for the request now."""

    code = "unavailable"
    status = 503


class CacheUnavailable(EngineError):
    """The limits of the cache cannot be enforced now: its size or its disk is unreadable."""

    code = "cache_enforcement_unavailable"
    status = 503

    def __init__(
        self,
        message: str = (
            "the limits of the cache cannot be enforced now: read the engine's log, then try again"
        ),
        details: str | None = None,
    ) -> None:
        super().__init__(message, details)


class CacheLimitTooSmall(EngineError):
    """The limits of the cache leave no room for the request, even if the cache is empty."""

    code = "cache_limit_too_small"
    status = 507


class StorageFull(EngineError):
    """The filesystem of the state store, or the cache, is full and nothing can be evicted."""

    code = "cache_full_unreclaimable"
    status = 507


class ImageUnavailable(EngineError):
    """No PostgreSQL distribution matches the image."""

    code = "image_unavailable"
    status = 409


class ImageUnusable(EngineError):
    """The image is here, but the engine cannot run a PostgreSQL from it."""

    code = "image_unusable"
    status = 409


class ImageCorrupt(EngineError):
    """A part of the image does not match its digest, or is not what an image consists of."""

    code = "image_corrupt"
    status = 422


class RegistryUnauthorized(EngineError):
    """The registry refuses the image with the credentials at hand, or without any."""

    code = "registry_unauthorized"
    status = 409


class RegistryUnavailable(EngineError):
    """The registry cannot be reached, fails or limits the rate of requests."""

    code = "registry_unavailable"
    status = 502


class LocaleUnavailable(EngineError):
    """The C library of the distribution lacks the locale ``postgres.locale``."""

    code = "locale_unavailable"
    status = 409


class LiquibaseUnavailable(EngineError):
    """Liquibase, or the Java that it needs, is not on this machine."""

    code = "liquibase_unavailable"
    status = 409


class DumpMissing(EngineError):
    """The dump that a request names is not in the state store, or not any more."""

    code = "dump_missing"
    status = 409


class ProgramUnavailable(EngineError):
    """The program of a command is not on this machine, or cannot be run."""

    code = "program_unavailable"
    status = 409


class ProjectFileInvalid(EngineError):
    """The project file of a client is no TOML, or not what a project file may contain."""

    code = "project_file_invalid"
    status = 400


class DatabaseUnreachable(EngineError):
    """The database to import cannot be connected to."""

    code = "database_unreachable"
    status = 502


class DatabaseTooLarge(EngineError):
    """The state store has no room for the database to import."""

    code = "database_too_large"
    status = 507


class DumpFailed(EngineError):
    """pg_dump failed: the database, or the right to read it, is not as it has to be."""

    code = "dump_failed"
    status = 422


class StoreDamaged(EngineError):
    """A file in the state store is not as the engine left it."""

    code = "store_damaged"
    status = 500


class OsUserUnknown(EngineError):
    """The system has no name for the user that would initialise PostgreSQL."""

    code = "os_user_unknown"
    status = 409


class ClusterFailed(EngineError):
    """PostgreSQL could not be initialised, started or stopped."""

    code = "cluster_failed"
    status = 500


class StepFailed(EngineError):
    """A step ran and failed: the SQL is wrong, not the engine."""

    code = "step_failed"
    status = 422


class DumpUnusable(EngineError):
    """The dump is damaged, or of a format or a version that no program at hand restores."""

    code = "dump_unusable"
    status = 422


class Cancelled(EngineError):
    """The job was cancelled."""

    code = "cancelled"
    status = 409


def _utf8(text: str) -> str:
    """Return text that UTF-8 can encode: names of files and other people's JSON may be none."""
    return text.encode("utf-8", "backslashreplace").decode()
