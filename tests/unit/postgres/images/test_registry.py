"""The client of registries: authentication, redirects, retries, ranges, mirrors, errors."""

import base64
import contextlib
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from support.images import digest_of
from support.registry_double import (
    BLOBS,
    MANIFESTS,
    Answer,
    RegistryDouble,
    Request,
    registry_double,
)

from sqlrs_engine.errors import (
    Cancelled,
    EngineError,
    ImageCorrupt,
    ImageUnavailable,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from sqlrs_engine.postgres.images.credentials import Credentials
from sqlrs_engine.postgres.images.manifests import Descriptor
from sqlrs_engine.postgres.images.references import parse_reference
from sqlrs_engine.postgres.images.registry import RegistryClient
from sqlrs_engine.postgres.images.registry_auth import Tokens, challenges, choose, read_token
from sqlrs_engine.postgres.images.registry_hosts import (
    RegistrySettings,
    endpoints,
    is_loopback,
    registry_settings,
)
from sqlrs_engine.postgres.images.registry_http import Transport
from sqlrs_engine.processes.cancellation import Cancellation

CONTENT = bytes(range(256)) * 4000
BLOB = Descriptor(media_type="", digest=digest_of(CONTENT), size=len(CONTENT))
MANIFEST = b'{"schemaVersion": 2}'
BASIC = f"Basic {base64.b64encode(b'me:pw').decode()}"


class Client:
    """A client of a double, which has noted how long it would have waited."""

    def __init__(
        self,
        double: RegistryDouble,
        *,
        login: dict[str, object] | None = None,
        registry: str | None = None,
        cancellation: Cancellation | None = None,
        tmp_path: Path | None = None,
        registries: dict[str, RegistrySettings] | None = None,
    ) -> None:
        self.waits: list[float] = []
        environ = {"HOME": "/nonexistent"}
        if login is not None:
            assert tmp_path is not None
            file = tmp_path / "auth.json"
            file.write_text(json.dumps({"auths": login}))
            environ["REGISTRY_AUTH_FILE"] = str(file)
        self.client = RegistryClient(
            parse_reference(f"{registry or double.host}/org/pg:1"),
            registries or {},
            Credentials(environ),
            cancellation or Cancellation(),
            wait=self.waits.append,
        )

    def manifest(self) -> bytes:
        with self.client as client:
            return client.manifest("1")[0]

    def blob(self, offset: int = 0) -> bytes:
        with self.client as client:
            return b"".join(client.blob(BLOB, offset))


@pytest.fixture
def double(double: RegistryDouble) -> RegistryDouble:
    double.put("/v2/org/pg/manifests/1", MANIFEST, "application/x")
    double.put(f"/v2/org/pg/blobs/{BLOB.digest}", CONTENT, "")
    return double


def refuse(*challenges: str) -> Callable[[Request], Answer | None]:
    """Answer 401 to requests without credentials."""

    def act(request: Request) -> Answer | None:
        if request.authorization is not None:
            return None
        return Answer(401, b"{}", {"WWW-Authenticate": ", ".join(challenges)})

    return act


def test_a_manifest_with_its_type_and_digest(double: RegistryDouble) -> None:
    client = Client(double)
    with client.client:
        assert client.client.manifest("1") == (MANIFEST, "application/x", digest_of(MANIFEST))
    (request,) = double.seen(MANIFESTS)
    assert request.headers["user-agent"].startswith("sqlrs-engine/")
    assert "application/vnd.oci.image.index.v1+json" in request.headers["accept"]
    assert request.authorization is None


def test_a_digest_of_another_kind_is_not_compared(double: RegistryDouble) -> None:
    double.rule(MANIFESTS, Answer(200, MANIFEST, {"Docker-Content-Digest": "sha512:x"}))
    assert Client(double).manifest() == MANIFEST


@pytest.mark.parametrize("stated", [None, digest_of(b"other")])
def test_a_manifest_must_have_its_digest(double: RegistryDouble, stated: str | None) -> None:
    headers = {"Docker-Content-Digest": stated} if stated else {}
    double.rule(MANIFESTS, Answer(200, MANIFEST, headers))
    wanted = digest_of(b"wanted") if stated is None else None
    with (
        Client(double).client as client,
        pytest.raises(ImageCorrupt, match="a manifest that does not match its digest"),
    ):
        client.manifest("1", wanted)


def test_the_digest_of_a_tag(double: RegistryDouble) -> None:
    client = Client(double).client
    double.rule(MANIFESTS, Answer(200, b"", {"Docker-Content-Digest": digest_of(b"x")}))
    with client:
        assert client.current_digest("1") == digest_of(b"x")
        assert client.current_digest("1") is None
    assert len(double.seen(MANIFESTS, "HEAD")) == 2


@pytest.mark.parametrize("offset", [0, 1, 255_000, len(CONTENT) - 1])
def test_a_part_of_a_blob(double: RegistryDouble, offset: int) -> None:
    assert Client(double).blob(offset) == CONTENT[offset:]
    assert double.seen(BLOBS)[0].headers.get("range") == (f"bytes={offset}-" if offset else None)


def test_a_server_that_ignores_the_range(double: RegistryDouble) -> None:
    double.rule(BLOBS, Answer(200, CONTENT))
    assert Client(double).blob(300_000) == CONTENT[300_000:]


@pytest.mark.parametrize("given", ["bytes 400000-1023999/1024000", "", "bytes x-y/z"])
def test_a_server_that_sends_another_part(double: RegistryDouble, given: str) -> None:
    double.rule(BLOBS, Answer(206, CONTENT[400_000:], {"Content-Range": given}))
    with pytest.raises(RegistryUnavailable, match="sent the wrong part"):
        Client(double).blob(300_000)


def test_a_body_that_breaks_off(double: RegistryDouble) -> None:
    double.rule(BLOBS, Answer(200, CONTENT, cut_after=500_000))
    with pytest.raises(RegistryUnavailable, match="was interrupted: pull again"):
        Client(double).blob()


def test_credentials_go_to_the_registry_alone(
    double: RegistryDouble, second_double: RegistryDouble, tmp_path: Path
) -> None:
    double.rule("", refuse('Basic realm="x"'), times=None)
    location = {"Location": f"{second_double.url}/store?signed=1"}
    double.rule(
        BLOBS, lambda each: None if each.authorization is None else Answer(307, b"", location)
    )
    second_double.put("/store", CONTENT, "")
    login = {double.host: {"username": "me", "password": "pw"}}
    assert Client(double, login=login, tmp_path=tmp_path).blob(10) == CONTENT[10:]
    assert [each.authorization for each in double.seen(BLOBS)] == [None, BASIC]
    (stored,) = second_double.seen()
    assert stored.authorization is None
    assert stored.headers["range"] == "bytes=10-"


def test_a_redirect_within_the_registry_keeps_the_credentials(
    double: RegistryDouble, tmp_path: Path
) -> None:
    double.put("/elsewhere", CONTENT, "")
    double.rule(BLOBS, Answer(302, b"", {"Location": "/elsewhere"}))
    double.rule("/elsewhere", refuse("Basic"), times=None)
    with pytest.raises(RegistryUnauthorized):
        Client(double).blob()


def test_redirects_end(double: RegistryDouble) -> None:
    location = {"Location": f"/v2/org/pg/blobs/{BLOB.digest}"}
    double.rule(BLOBS, Answer(302, b"", location), times=None)
    with pytest.raises(RegistryUnavailable, match="cannot reach") as failure:
        Client(double).blob()
    assert "redirects without end" in str(failure.value.details)
    assert len(double.seen(BLOBS)) < 10


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("http://registry.example.com/x", "leads to registry.example.com without encryption"),
        ("ftp://127.0.0.1/x", "names the address"),
        ("file:///etc/passwd", "names the address"),
        ("https:///x", "names the address"),
        ("http://localhost:80@registry.example.com/x", "names the address"),
        ("http://127.0.0.1\\@registry.example.com/x", "names the address"),
    ],
)
def test_redirects_to_where_no_request_may_go(
    double: RegistryDouble, location: str, reason: str
) -> None:
    double.rule(BLOBS, Answer(302, b"", {"Location": location}))
    with pytest.raises(RegistryUnavailable) as failure:
        Client(double).blob()
    assert reason in str(failure.value.details)


class TokenServer:
    """Gives out tokens at a path of a double, and takes them everywhere else."""

    def __init__(self, double: RegistryDouble, **answer: object) -> None:
        self.given = 0
        self.valid: set[str | None] = set()
        self.answer = answer
        self.realm = f"{double.url}/token"
        double.rule("^/token", self._give, times=None)
        double.rule("^/v2/", self._check, times=None)

    def _give(self, request: Request) -> Answer:
        self.given += 1
        token = f"t{self.given}"
        self.valid.add(f"Bearer {token}")
        return Answer(200, json.dumps({"token": token, **self.answer}).encode())

    def _check(self, request: Request) -> Answer | None:
        if request.authorization in self.valid:
            return None
        challenge = (
            f'Bearer realm="{self.realm}",service="the service",scope="repository:org/pg:pull"'
        )
        return Answer(401, b"{}", {"WWW-Authenticate": challenge})


def test_an_anonymous_token(double: RegistryDouble) -> None:
    server = TokenServer(double)
    client = Client(double).client
    with client:
        assert client.manifest("1")[0] == MANIFEST
        assert b"".join(client.blob(BLOB, 0)) == CONTENT
    (asked,) = double.seen("^/token")
    assert asked.authorization is None
    assert parse_qs(urlsplit(asked.path).query) == {
        "service": ["the service"],
        "scope": ["repository:org/pg:pull"],
    }
    assert server.given == 1


def test_a_token_for_a_user(double: RegistryDouble, tmp_path: Path) -> None:
    TokenServer(double)
    login = {double.host: {"username": "me", "password": "pw"}}
    assert Client(double, login=login, tmp_path=tmp_path).manifest() == MANIFEST
    assert [each.authorization for each in double.seen("^/token")] == [BASIC]
    assert BASIC not in [each.authorization for each in double.seen("^/v2")]


def test_a_token_for_a_refresh_token(double: RegistryDouble, tmp_path: Path) -> None:
    TokenServer(double)
    login = {double.host: {"identitytoken": "refresh&me"}}
    assert Client(double, login=login, tmp_path=tmp_path).manifest() == MANIFEST
    (asked,) = double.seen("^/token", "POST")
    form = parse_qs(asked.body.decode())
    assert (form["grant_type"], form["refresh_token"]) == (["refresh_token"], ["refresh&me"])


def test_a_refresh_token_is_for_one_server(
    double: RegistryDouble, second_double: RegistryDouble, tmp_path: Path
) -> None:
    double.rule("^/token", Answer(307, b"", {"Location": f"{second_double.url}/token"}))
    TokenServer(double)
    login = {double.host: {"identitytoken": "refresh&me"}}
    with pytest.raises(RegistryUnavailable) as failure:
        Client(double, login=login, tmp_path=tmp_path).manifest()
    assert "redirects a token" in str(failure.value.details)
    assert second_double.requests == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://localhost:8080/x", "which is this machine"),
        ("https://127.0.0.1/x", "which is this machine"),
        ("https://\u2603.\u2603./x", "names the address"),
        ("https://[::1", "names the address"),
        ("https://registry.example.com:port/x", "names the address"),
        pytest.param(f"https://example.com/{'x' * 70_000}", "names the address", id="long"),
    ],
)
def test_where_a_remote_registry_cannot_lead(url: str, reason: str) -> None:
    (remote,) = endpoints("registry.example.com", {})
    with pytest.raises(RegistryUnavailable) as failure:
        Transport({}, Cancellation()).check_url(remote, url)
    assert reason in str(failure.value.details)


def test_a_token_that_the_configuration_has(double: RegistryDouble, tmp_path: Path) -> None:
    server = TokenServer(double)
    server.valid.add("Bearer mine")
    login = {double.host: {"registrytoken": "mine"}}
    assert Client(double, login=login, tmp_path=tmp_path).manifest() == MANIFEST
    assert server.given == 0


def test_a_token_that_has_expired_is_replaced(double: RegistryDouble) -> None:
    server = TokenServer(double)
    client = Client(double).client
    with client:
        client.manifest("1")
        server.valid.clear()
        assert client.manifest("1")[0] == MANIFEST
    assert server.given == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Answer(401, b"{}"), RegistryUnauthorized),
        (Answer(403, b"{}"), RegistryUnauthorized),
        (Answer(404, b"{}"), RegistryUnavailable),
        (Answer(500, b"{}"), RegistryUnavailable),
        (Answer(200, b"[]"), RegistryUnavailable),
        (Answer(200, b'{"token": "a\\nb"}'), RegistryUnavailable),
        (Answer(200, b"x" * 2_000_000), RegistryUnavailable),
    ],
)
def test_a_token_server_that_gives_none(
    double: RegistryDouble, answer: Answer, error: type[EngineError]
) -> None:
    double.rule("^/token", answer, times=None)
    TokenServer(double)
    with pytest.raises(error):
        Client(double).manifest()


def test_passwords_are_in_no_error(double: RegistryDouble, tmp_path: Path) -> None:
    double.rule("", Answer(401, b"{}", {"WWW-Authenticate": "Basic"}), times=None)
    login = {double.host: {"username": "me", "password": "s3cret"}}
    with pytest.raises(
        RegistryUnauthorized, match="check that these credentials may read"
    ) as failure:
        Client(double, login=login, tmp_path=tmp_path).manifest()
    assert "s3cret" not in str(failure.value)


@pytest.mark.parametrize(
    ("status", "error", "message"),
    [
        (401, RegistryUnauthorized, "log in with `docker login 127.0.0.1"),
        (403, RegistryUnauthorized, "does not give the image"),
        (404, ImageUnavailable, "there is no image 127.0.0.1:.*/org/pg:1 in the registry"),
        (400, RegistryUnavailable, "does not understand the request"),
        (301, RegistryUnavailable, "does not understand the request"),
    ],
)
def test_answers_that_are_final(
    double: RegistryDouble, status: int, error: type[EngineError], message: str
) -> None:
    body = b'{"errors": [{"code": "DENIED", "message": "because"}]}'
    double.rule("", Answer(status, body), times=None)
    with pytest.raises(error, match=message) as failure:
        Client(double).manifest()
    assert f"answered {status}: DENIED because" in str(failure.value.details)
    assert len(double.seen()) == 1


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_answers_that_are_worth_another_try(double: RegistryDouble, status: int) -> None:
    double.rule("", Answer(status, b""), times=3)
    client = Client(double)
    assert client.manifest() == MANIFEST
    assert client.waits == [0.5, 1.0, 2.0]


def test_retries_end(double: RegistryDouble) -> None:
    double.rule("", Answer(503, b"x"), times=None)
    with pytest.raises(RegistryUnavailable, match="fails: try again later"):
        Client(double).manifest()
    assert len(double.seen()) == 4


def test_the_registry_says_when_to_ask_again(double: RegistryDouble) -> None:
    double.rule("", Answer(429, b"", {"Retry-After": "7"}))
    client = Client(double)
    assert client.manifest() == MANIFEST
    assert client.waits == [7.0]


def test_a_long_pause_is_an_error(double: RegistryDouble) -> None:
    body = b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow down"}]}'
    double.rule("", Answer(429, body, {"Retry-After": "3600"}))
    with pytest.raises(
        RegistryUnavailable, match=r"limits the rate of pulls: .* log in"
    ) as failure:
        Client(double).manifest()
    assert "slow down" in str(failure.value.details)


def test_a_missing_part_of_an_image(double: RegistryDouble) -> None:
    double.rule(BLOBS, Answer(404, b"{}"))
    with pytest.raises(ImageCorrupt, match=r"a part of the image .* is missing in the registry"):
        Client(double).blob()


@pytest.mark.parametrize("limit", [100, 10_000_000])
def test_a_small_blob_is_checked(double: RegistryDouble, limit: int) -> None:
    client = Client(double).client
    if limit < len(CONTENT):
        with client, pytest.raises(ImageCorrupt, match="is too large"):
            client.small_blob(BLOB, limit)
        return
    double.rule(BLOBS, Answer(200, CONTENT[:-1] + b"x"))
    with client, pytest.raises(ImageCorrupt, match="does not match its digest"):
        client.small_blob(BLOB, limit)


def test_an_endless_manifest_is_refused(double: RegistryDouble) -> None:
    double.rule(MANIFESTS, Answer(200, b" " * 5_000_000))
    with pytest.raises(RegistryUnavailable) as failure:
        Client(double).manifest()
    assert "more than 4194304 bytes" in str(failure.value.details)


def test_an_unreachable_registry(double: RegistryDouble) -> None:
    double.close()
    with pytest.raises(RegistryUnavailable, match=r"cannot reach the registry 127.0.0.1"):
        Client(double).manifest()


def test_mirrors_come_first_and_in_order(
    double: RegistryDouble, second_double: RegistryDouble
) -> None:
    mirrors = (f"{second_double.host}/cache", double.host)
    registries = {"registry.example.com": RegistrySettings(mirrors=mirrors)}
    second_double.put("/v2/cache/org/pg/manifests/1", MANIFEST, "")
    client = Client(double, registry="registry.example.com", registries=registries).client
    with client:
        assert client.manifest("1")[0] == MANIFEST
        assert double.seen() == []
        assert b"".join(client.blob(BLOB, 0)) == CONTENT
        assert b"".join(client.blob(BLOB, 0)) == CONTENT
    # The one that had the last part is asked for the next.
    assert len(second_double.seen(BLOBS)) == 1
    assert len(double.seen(BLOBS)) == 2


@pytest.mark.parametrize("status", [404, 401, 400])
def test_the_registry_itself_has_the_last_word(
    double: RegistryDouble, second_double: RegistryDouble, status: int
) -> None:
    second_double.rule("", Answer(status, b"{}"), times=None)
    registries = {double.host: RegistrySettings(mirrors=(second_double.host,))}
    assert Client(double, registries=registries).manifest() == MANIFEST
    double.rule("", Answer(404, b"{}"), times=None)
    with pytest.raises(ImageUnavailable):
        Client(double, registries=registries).manifest()


def test_a_mirror_has_credentials_of_its_own(
    double: RegistryDouble, second_double: RegistryDouble, tmp_path: Path
) -> None:
    second_double.rule("", refuse("Basic"), times=None)
    second_double.put("/v2/org/pg/manifests/1", MANIFEST, "")
    login = {
        "registry.example.com": {"username": "other", "password": "s3cret"},
        second_double.host: {"username": "me", "password": "pw"},
    }
    registries = {"registry.example.com": RegistrySettings(mirrors=(second_double.host,))}
    client = Client(
        double,
        login=login,
        tmp_path=tmp_path,
        registry="registry.example.com",
        registries=registries,
    )
    assert client.manifest() == MANIFEST
    assert [each.authorization for each in second_double.seen()] == [None, BASIC]


@pytest.fixture
def tls_double(tmp_path: Path) -> Iterator[RegistryDouble]:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=x"),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with registry_double(context) as running:
        yield running


def test_a_loopback_registry_may_have_any_certificate(tls_double: RegistryDouble) -> None:
    tls_double.put("/v2/org/pg/manifests/1", MANIFEST, "")
    assert Client(tls_double).manifest() == MANIFEST


class Proxy:
    """A proxy that leads every host to one server, and notes what was asked for."""

    def __init__(self, target: RegistryDouble) -> None:
        self.lines: list[str] = []
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with client:
                self._serve(client)

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += client.recv(1)
        self.lines.append(head.partition(b"\r\n")[0].decode())
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        host, _, port = self._target.host.partition(":")
        with socket.create_connection((host, int(port))) as upstream:
            back = threading.Thread(target=self._copy, args=(upstream, client))
            back.start()
            self._copy(client, upstream)
            back.join()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        self._server.close()
        self._thread.join()


@pytest.fixture
def proxy(tls_double: RegistryDouble, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    tls_double.put("/v2/org/pg/manifests/1", MANIFEST, "")
    proxy = Proxy(tls_double)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    yield proxy
    proxy.close()


def test_a_certificate_that_cannot_be_verified(proxy: Proxy, tls_double: RegistryDouble) -> None:
    client = Client(tls_double, registry="registry.example.com")
    with pytest.raises(RegistryUnavailable, match=r"certificate of registry.example.com cannot be"):
        client.manifest()
    # Never without encryption, and through the proxy of the environment.
    assert proxy.lines == ["CONNECT registry.example.com:443 HTTP/1.1"]


def test_a_registry_that_is_configured_as_insecure(
    proxy: Proxy, tls_double: RegistryDouble
) -> None:
    registries = {"registry.example.com": RegistrySettings(insecure=True)}
    client = Client(tls_double, registry="registry.example.com", registries=registries)
    assert client.manifest() == MANIFEST


def test_loopback_needs_no_proxy(proxy: Proxy, double: RegistryDouble) -> None:
    assert Client(double).manifest() == MANIFEST
    assert proxy.lines == []


@pytest.mark.parametrize("hold_after", [None, 0, 1000])
def test_work_that_ends_does_not_wait_for_the_network(
    double: RegistryDouble, hold_after: int | None
) -> None:
    answer = Answer(200, CONTENT, hold_after=hold_after)

    def silent(_: Request) -> Answer:
        answer.held.set()
        answer.release.wait(60)
        return answer

    double.rule(BLOBS, silent if hold_after is None else answer)
    cancellation = Cancellation()
    failures: list[BaseException] = []

    def read() -> None:
        try:
            Client(double, cancellation=cancellation).blob()
        except Cancelled as failure:
            failures.append(failure)

    thread = threading.Thread(target=read)
    thread.start()
    assert answer.held.wait(20)
    begun = time.monotonic()
    cancellation.cancel()
    thread.join(20)
    answer.release.set()
    assert len(failures) == 1
    assert time.monotonic() - begun < 15


def test_an_engine_that_pulls_nothing_has_no_http_client() -> None:
    code = """
import sys
import sqlrs_engine.postgres.images.pull
print("httpx" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (
            ['Bearer realm="https://a/t",service="s"'],
            [("bearer", {"realm": "https://a/t", "service": "s"})],
        ),
        (['Basic realm="a, b"', "Negotiate"], [("basic", {"realm": "a, b"}), ("negotiate", {})]),
        (
            ['Basic realm="a" , Bearer realm=b'],
            [("basic", {"realm": "a"}), ("bearer", {"realm": "b"})],
        ),
        ([r'Bearer realm="a\"b"'], [("bearer", {"realm": 'a"b'})]),
        (["Negotiate, Basic"], [("negotiate", {}), ("basic", {})]),
        (['="x"', "", '"', "Bearer realm="], []),
    ],
)
def test_challenges(headers: list[str], found: list[tuple[str, dict[str, str]]]) -> None:
    read = [(each.scheme, each.parameters) for each in challenges(headers)]
    assert [each for each in read if each[0] in ("bearer", "basic", "negotiate")][
        : len(found)
    ] == found


def test_a_token_is_preferred_to_a_password() -> None:
    chosen = choose(challenges(['Basic realm="a", Bearer realm="b"']))
    assert chosen is not None
    assert chosen.scheme == "bearer"
    without_realm = choose(challenges(["Bearer, Basic"]))
    assert without_realm is not None
    assert without_realm.scheme == "basic"
    assert choose(challenges(["Negotiate"])) is None


def test_tokens_are_kept_for_most_of_their_life() -> None:
    now = [0.0]
    tokens = Tokens(lambda: now[0])
    tokens.keep("a", "s", "Bearer t", 100)
    now[0] = 89
    assert tokens.header("a", "s") == "Bearer t"
    assert tokens.header("b", "s") is None
    now[0] = 91
    assert tokens.header("a", "s") is None


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"token": "a"}, ("a", 60)),
        ({"access_token": "a", "expires_in": 300}, ("a", 300)),
        ({"token": "a", "expires_in": "x"}, ("a", 60)),
        ({"token": "a", "expires_in": -1}, ("a", 60)),
        ({"token": "a\r\nb"}, None),
        ({"token": 1}, None),
        ({}, None),
        ([], None),
    ],
)
def test_answers_of_token_servers(answer: object, token: tuple[str, float] | None) -> None:
    read = read_token(answer)
    assert (read and (read.text, read.seconds)) == token


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("localhost:5000", True),
        ("127.0.0.1:5000", True),
        ("127.8.9.1", True),
        ("[::1]:5000", True),
        ("x.localhost", True),
        ("192.168.0.1:5000", False),
        ("localhost.example.com", False),
        ("registry", False),
        ("[fe80::1]", False),
    ],
)
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_the_setting_of_registries() -> None:
    configured = {
        "Docker.io": {"mirrors": ["Mirror.io/Hub/", "localhost:5000"]},
        "r.io": {"insecure": True},
    }
    settings = registry_settings(configured)
    asked = [(each.host, each.prefix, each.insecure) for each in endpoints("docker.io", settings)]
    assert asked == [
        ("mirror.io", "Hub", False),
        ("localhost:5000", "", True),
        ("registry-1.docker.io", "", False),
    ]
    assert endpoints("r.io", settings)[0].insecure
    assert registry_settings(None) == {}
