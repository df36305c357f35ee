"""Requests over HTTP, with what registries need beyond a client's own habits.

Plain HTTP goes only to hosts for which it is allowed, credentials only to the host they are for,
and nothing for this machine goes through a proxy. This is the only module of images that imports
the HTTP client, and it does so when the first image is pulled.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urljoin, urlsplit

from sqlrs_engine import __version__
from sqlrs_engine.errors import RegistryUnavailable
from sqlrs_engine.processes.cancellation import Cancellation

from . import registry_errors as failures
from .registry_hosts import Endpoint, RegistrySettings, is_loopback

if TYPE_CHECKING:
    import httpx
    from httpcore import NetworkStream

    Answer = httpx.Response

_USER_AGENT = f"sqlrs-engine/{__version__}"
_CONNECT_SECONDS = 10.0
_READ_SECONDS = 30.0
_MAX_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class BrokenOffError(Exception):
    """A request had no answer, but may have one when it is repeated; the message says why."""


class Transport:
    """Sends requests; safe to use from any thread until it is closed.

    What ends ``cancellation`` also ends the connections, and so wakes what waits for an answer.
    """

    def __init__(
        self, registries: Mapping[str, RegistrySettings], cancellation: Cancellation
    ) -> None:
        self._registries = registries
        self._cancellation = cancellation
        self._schemes: dict[str, str] = {}
        self._lock = threading.Lock()
        self._clients: dict[tuple[bool, bool], httpx.Client] = {}
        self._connections: list[NetworkStream] = []
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._closing.enter_context(self._cancellation.calling(self._end_connections))
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()
        for client in self._clients.values():
            client.close()

    def send(
        self,
        method: str,
        endpoint: Endpoint,
        target: str,
        headers: Mapping[str, str],
        authorization: str | None,
        content: bytes | None = None,
    ) -> "Answer":
        """Send a request to a path or a URL and follow redirects; return the answer's head.

        ``authorization`` goes to the first host only. Raises RegistryUnavailable when the server
        cannot be reached or leads astray, BrokenOffError.
        """
        import httpx

        url = target if "://" in target else f"{self._scheme(endpoint)}://{endpoint.host}{target}"
        first = _origin(url)
        for _ in range(_MAX_REDIRECTS + 1):
            sent = {**headers, "Accept-Encoding": "identity"}
            if authorization is not None and _origin(url) == first:
                sent["Authorization"] = authorization
            client = self._client(endpoint, url)
            traced = {"trace": self._trace}
            request = client.build_request(
                method, url, headers=sent, content=content, extensions=traced
            )
            try:
                answer = client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
                self._cancellation.check()
                if not self._falls_back(endpoint, url):
                    raise failures.unreachable(urlsplit(url).netloc, _reason(error)) from error
                url = f"http{url.removeprefix('https')}"
                first = _origin(url)
                continue
            except httpx.TransportError as error:
                self._cancellation.check()
                raise BrokenOffError(_reason(error)) from error
            if answer.status_code not in _REDIRECTS or "location" not in answer.headers:
                return answer
            answer.close()
            url = self._redirected(endpoint, url, answer.headers["location"])
            if content is not None and _origin(url) != first:
                raise failures.unreachable(endpoint.host, "it redirects a token to another server")
        raise failures.unreachable(endpoint.host, "it redirects without end")

    def _scheme(self, endpoint: Endpoint) -> str:
        return self._schemes.get(endpoint.host, "https")

    def _falls_back(self, endpoint: Endpoint, url: str) -> bool:
        """Return whether to use plain HTTP for a server that does not speak TLS."""
        there = urlsplit(url)
        if not endpoint.insecure or there.scheme != "https" or there.netloc != endpoint.host:
            return False
        self._schemes[endpoint.host] = "http"
        return True

    def _redirected(self, endpoint: Endpoint, url: str, location: str) -> str:
        """Return the address to which an answer leads. Raises as ``check_url`` does."""
        try:
            there = urljoin(url, location)
        except ValueError as error:
            raise _nowhere(endpoint, location) from error
        self.check_url(endpoint, there)
        return there

    def check_url(self, endpoint: Endpoint, url: str) -> None:
        """Raise RegistryUnavailable for an address to which no request may go."""
        import httpx

        try:
            there, meant = urlsplit(url), httpx.URL(url)
        except (ValueError, httpx.InvalidURL) as error:
            raise _nowhere(endpoint, url) from error
        # A name before the host could pass for the host.
        if there.scheme not in ("https", "http") or not meant.host or "@" in there.netloc:
            raise _nowhere(endpoint, url)
        if is_loopback(there.netloc) and not is_loopback(endpoint.host):
            raise failures.unreachable(
                endpoint.host, f"it leads to {there.netloc}, which is this machine"
            )
        if there.scheme == "http" and not self._is_insecure(endpoint, there.netloc):
            raise failures.unreachable(
                endpoint.host, f"it leads to {there.netloc} without encryption"
            )

    def _is_insecure(self, endpoint: Endpoint, host: str) -> bool:
        if host == endpoint.host:
            return endpoint.insecure
        return is_loopback(host) or self._registries.get(host, RegistrySettings()).insecure

    def _client(self, endpoint: Endpoint, url: str) -> "httpx.Client":
        """Return the client for a URL; loopback never goes through a proxy."""
        import httpx

        host = urlsplit(url).netloc
        kind = (self._is_insecure(endpoint, host), is_loopback(host))
        with self._lock:
            client = self._clients.get(kind)
            if client is None:
                client = self._clients[kind] = httpx.Client(
                    verify=not kind[0],
                    trust_env=not kind[1],
                    follow_redirects=False,
                    headers={"User-Agent": _USER_AGENT},
                    timeout=httpx.Timeout(_READ_SECONDS, connect=_CONNECT_SECONDS, pool=None),
                )
            return client

    def whole(self, answer: "Answer", limit: int) -> bytes:
        """Return the body of an answer. Raises RegistryUnavailable."""
        content = bytearray()
        for chunk in self.chunks(answer):
            content += chunk
            if len(content) > limit:
                raise failures.unreachable(
                    answer.request.url.host, f"an answer has more than {limit} bytes"
                )
        return bytes(content)

    def chunks(self, answer: "Answer") -> Iterator[bytes]:
        """Yield the body of an answer. Raises RegistryUnavailable, and what ends the work."""
        import httpx

        try:
            for chunk in answer.iter_raw():
                self._cancellation.check()
                yield chunk
        except (httpx.TransportError, httpx.StreamError) as error:
            self._cancellation.check()
            raise failures.interrupted(answer.request.url.host, _reason(error)) from error

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Note the connections that are made."""
        if event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            with self._lock:
                self._connections.append(info["return_value"])
            if self._cancellation.ended:
                self._end_connections()

    def _end_connections(self) -> None:
        with self._lock:
            connections = [*self._connections]
        for each in connections:
            opened = each.get_extra_info("socket")
            with contextlib.suppress(OSError):  # it is closed, or has become one with TLS
                opened.shutdown(socket.SHUT_RDWR)


def _nowhere(endpoint: Endpoint, url: str) -> RegistryUnavailable:
    return failures.unreachable(endpoint.host, f"it names the address {url[:200]!r}")


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
