"""The client of registries: the distribution API of OCI and Docker, as far as a pull needs it.

Requests go to the mirrors of a registry in their order, then to the registry itself. Credentials
go to the host that asked for them and to no other: redirects are followed here, without them.
"""

import contextlib
import json
import logging
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urlencode, urlsplit

from sqlrs_engine.errors import (
    EngineError,
    ImageCorrupt,
    ImageUnavailable,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from sqlrs_engine.processes.cancellation import Cancellation

from . import registry_errors as failures
from .credentials import Credentials, Login
from .manifests import ACCEPTED, MAX_MANIFEST_BYTES, Descriptor, digest_of
from .references import Reference, is_digest
from .registry_auth import Challenge, Tokens, basic, challenges, choose, read_token
from .registry_hosts import Endpoint, RegistrySettings, endpoints
from .registry_http import BrokenOffError, Transport

if TYPE_CHECKING:
    from .registry_http import Answer

_ATTEMPTS = 4
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 30.0
_MAX_ANSWER_BYTES = 1024 * 1024
_FOR_LONG = 3600.0
_WORTH_ANOTHER_TRY = frozenset({429, 500, 502, 503, 504})
# After these, another server may do better.
_SERVER_FAILURES = (ImageUnavailable, ImageCorrupt, RegistryUnauthorized, RegistryUnavailable)

_log = logging.getLogger(__name__)

Wait = Callable[[float], None]
T = TypeVar("T")


class RegistryClient:
    """Asks for the parts of one image; safe to use from any thread until it is closed.

    ``wait`` is a seam for tests.
    """

    def __init__(
        self,
        reference: Reference,
        registries: Mapping[str, RegistrySettings],
        credentials: Credentials,
        cancellation: Cancellation,
        *,
        wait: Wait | None = None,
    ) -> None:
        self._reference = reference
        self._endpoints = [*endpoints(reference.registry, registries)]
        self._credentials = credentials
        self._cancellation = cancellation
        self._wait = wait or self._sleep
        self._tokens = Tokens()
        self._http = Transport(registries, cancellation)

    def __enter__(self) -> Self:
        self._http.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.__exit__()

    def current_digest(self, name: str) -> str | None:
        """Return the digest of what a tag means now, None when the registry does not say.

        Raises as ``manifest`` does.
        """

        def ask(endpoint: Endpoint) -> str | None:
            with self._answer("HEAD", endpoint, f"manifests/{name}", _accepting()) as answer:
                stated: str = answer.headers.get("docker-content-digest", "")
                return stated if is_digest(stated) else None

        return self._anywhere(ask)

    def manifest(self, name: str, digest: str | None = None) -> tuple[bytes, str | None, str]:
        """Return a manifest or an index with its media type and its digest.

        ``name`` is a tag or a digest; the content has the digest ``digest`` if that is given.
        Raises ImageUnavailable when there is none, ImageCorrupt when it does not match its digest,
        RegistryUnauthorized, RegistryUnavailable.
        """

        def ask(endpoint: Endpoint) -> tuple[bytes, str | None, str]:
            with self._answer("GET", endpoint, f"manifests/{name}", _accepting()) as answer:
                content = self._http.whole(answer, MAX_MANIFEST_BYTES)
                stated = answer.headers.get("docker-content-digest", "")
                kind = answer.headers.get("content-type", "").partition(";")[0].strip()
            found = digest_of(content)
            wanted = digest or (stated if is_digest(stated) else found)
            if found != wanted:
                raise failures.wrong_digest("a manifest", wanted, found)
            return content, kind or None, found

        return self._anywhere(ask)

    def small_blob(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return a blob of at most ``limit`` bytes whose digest is right; raises as above."""
        if descriptor.size > limit:
            raise ImageCorrupt(
                "a part of the image is too large: use another image",
                f"{descriptor.digest} has {descriptor.size} bytes",
            )

        def ask(endpoint: Endpoint) -> bytes:
            with self._answer("GET", endpoint, f"blobs/{descriptor.digest}", {}) as answer:
                content = self._http.whole(answer, limit)
            if digest_of(content) != descriptor.digest:
                raise failures.wrong_digest(
                    "a part of the image", descriptor.digest, digest_of(content)
                )
            return content

        return self._anywhere(ask)

    def blob(self, descriptor: Descriptor, offset: int) -> Generator[bytes, None, None]:
        """Yield a blob from ``offset`` on, in chunks; its digest is for the caller to check.

        Raises as ``manifest`` does, RegistryUnavailable also when the connection breaks in between.
        """
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        path = f"blobs/{descriptor.digest}"
        with contextlib.ExitStack() as stack:

            def ask(endpoint: Endpoint) -> "Answer":
                return stack.enter_context(self._answer("GET", endpoint, path, headers))

            answer = self._anywhere(ask)
            superfluous = offset - _start(answer, offset)
            for chunk in self._http.chunks(answer):
                if superfluous >= len(chunk):
                    superfluous -= len(chunk)
                    continue
                yield chunk[superfluous:] if superfluous else chunk
                superfluous = 0

    def _anywhere(self, ask: Callable[[Endpoint], T]) -> T:
        """Return what the first server answers that has an answer; it is the first to ask next."""
        tried = [*self._endpoints]
        for endpoint in tried:
            self._cancellation.check()
            try:
                found = ask(endpoint)
            except _SERVER_FAILURES as error:
                if endpoint is tried[-1]:
                    raise
                _log.warning(
                    "the mirror %s failed, trying the next server: %s", endpoint.host, error
                )
            else:
                self._endpoints = [endpoint, *(each for each in tried if each is not endpoint)]
                return found
        raise AssertionError("a registry has at least one server")

    @contextlib.contextmanager
    def _answer(
        self, method: str, endpoint: Endpoint, path: str, headers: Mapping[str, str]
    ) -> "Iterator[Answer]":
        """Yield a successful answer, asked for as often as it is worthwhile."""
        last = _ATTEMPTS - 1
        for attempt in range(_ATTEMPTS):
            self._cancellation.check()
            try:
                answer = self._authorized(method, endpoint, path, headers)
            except BrokenOffError as error:
                if attempt == last:
                    raise failures.interrupted(endpoint.host, str(error)) from error
                self._wait(_FIRST_WAIT * 2**attempt)
                continue
            with contextlib.closing(answer):
                if answer.is_success:
                    yield answer
                    return
                pause = _pause(answer, attempt)
                if attempt == last or pause is None:
                    raise self._refused(endpoint, path, answer)
            self._wait(pause)

    def _authorized(
        self, method: str, endpoint: Endpoint, path: str, headers: Mapping[str, str]
    ) -> "Answer":
        """Send a request, and once more with credentials if the registry wants them."""
        repository = "/".join(filter(None, (endpoint.prefix, self._reference.repository)))
        scope = f"repository:{repository}:pull"
        known = self._tokens.header(endpoint.host, scope)
        answer = self._http.send(method, endpoint, f"/v2/{repository}/{path}", headers, known)
        if answer.status_code != 401:
            return answer
        offered = choose(challenges(answer.headers.get_list("www-authenticate")))
        if offered is None:
            return answer
        self._tokens.drop(endpoint.host, scope)
        login = self._credentials.find(endpoint.credentials_key, repository)
        header = self._authorization(endpoint, offered, login, scope)
        if header is None or header == known:
            return answer
        answer.close()
        return self._http.send(method, endpoint, f"/v2/{repository}/{path}", headers, header)

    def _authorization(
        self, endpoint: Endpoint, offered: Challenge, login: Login | None, scope: str
    ) -> str | None:
        """Return the value of ``Authorization`` that answers a challenge, None without any."""
        if login is not None and login.registry_token:
            header, seconds = f"Bearer {login.registry_token}", _FOR_LONG
        elif offered.scheme == "basic":
            if login is None or not login.password:
                return None
            header, seconds = basic(login), _FOR_LONG
        else:
            header, seconds = self._token(endpoint, offered, login, scope)
        self._tokens.keep(endpoint.host, scope, header, seconds)
        return header

    def _token(
        self, endpoint: Endpoint, offered: Challenge, login: Login | None, scope: str
    ) -> tuple[str, float]:
        """Return a header with a token of the server that the registry names, and its seconds."""
        realm = offered.parameters["realm"]
        self._http.check_url(endpoint, realm)
        asked = {"scope": offered.parameters.get("scope") or scope}
        if service := offered.parameters.get("service"):
            asked["service"] = service
        if login is not None and login.identity_token:
            asked |= {"grant_type": "refresh_token", "client_id": "sqlrs-engine"}
            asked["refresh_token"] = login.identity_token
            form = urlencode(asked).encode()
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            answer = self._http.send("POST", endpoint, realm, headers, None, form)
        else:
            header = basic(login) if login is not None and login.password else None
            url = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(asked)}"
            answer = self._http.send("GET", endpoint, url, {}, header)
        host = urlsplit(realm).netloc
        with contextlib.closing(answer):
            content = self._http.whole(answer, _MAX_ANSWER_BYTES)
            if not answer.is_success:
                raise failures.refused(
                    self._reference,
                    host,
                    # The address comes from the registry: that it leads nowhere is its failure.
                    502 if answer.status_code == 404 else answer.status_code,
                    content,
                    logged_in=login is not None,
                )
        token = read_token(_json(content))
        if token is None:
            raise failures.unreachable(host, "its answer has no token")
        return f"Bearer {token.text}", token.seconds

    def _refused(self, endpoint: Endpoint, path: str, answer: "Answer") -> EngineError:
        repository = self._reference.repository
        if answer.status_code == 404 and path.startswith("blobs/"):
            return failures.incomplete(self._reference, endpoint.host, path)
        return failures.refused(
            self._reference,
            endpoint.host,
            answer.status_code,
            self._http.whole(answer, _MAX_ANSWER_BYTES),
            logged_in=self._credentials.find(endpoint.credentials_key, repository) is not None,
        )

    def _sleep(self, seconds: float) -> None:
        ended = threading.Event()
        with self._cancellation.calling(ended.set):
            ended.wait(seconds)
        self._cancellation.check()


def _accepting() -> dict[str, str]:
    return {"Accept": ", ".join(ACCEPTED)}


def _pause(answer: "Answer", attempt: int) -> float | None:
    """Return the seconds after which to ask again, None when that makes no sense."""
    if answer.status_code not in _WORTH_ANOTHER_TRY:
        return None
    wanted = answer.headers.get("retry-after", "")
    pause = float(wanted) if wanted.isascii() and wanted.isdigit() else _FIRST_WAIT * 2**attempt
    return pause if pause <= _LONGEST_WAIT else None


def _start(answer: "Answer", offset: int) -> int:
    """Return where in the blob an answer begins: some servers ignore that a part is asked for."""
    if answer.status_code != 206:
        return 0
    given = answer.headers.get("content-range", "").removeprefix("bytes ").partition("-")[0]
    if not given.isascii() or not given.isdigit() or int(given) > offset:
        raise RegistryUnavailable(
            f"{answer.request.url.host} sent the wrong part of a layer: try again, or set a mirror "
            "in images.registries",
            answer.headers.get("content-range"),
        )
    return int(given)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None
