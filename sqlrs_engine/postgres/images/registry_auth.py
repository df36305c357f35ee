"""Authentication at registries: what a 401 asks for, and what answers it."""

import base64
import re
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .credentials import Login

_SCHEME = re.compile(r"\s*,?\s*(?P<scheme>[A-Za-z]+)(?:\s+(?=[A-Za-z_]+\s*=|$)|$|(?=\s*,))")
_PARAMETER = re.compile(
    r'\s*,?\s*(?P<name>[A-Za-z_]+)\s*=\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^\s,"]+))'
)
_MAX_HEADER = 8192
_DEFAULT_SECONDS = 60.0
_MOST_SECONDS = 3600.0
# A token is replaced while it still has this share of its life.
_MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server asks for: ``bearer`` with a realm, a service and a scope, or ``basic``."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and how long it is good for."""

    text: str = field(repr=False)
    seconds: float = _DEFAULT_SECONDS


class Tokens:
    """The headers that have worked, by server and scope; thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: dict[tuple[str, str], tuple[str, float]] = {}

    def header(self, server: str, scope: str) -> str | None:
        """Return the value of ``Authorization`` to send, None when there is none yet."""
        with self._lock:
            text, until = self._kept.get((server, scope), ("", 0.0))
            return text if text and self._clock() < until else None

    def keep(self, server: str, scope: str, header: str, seconds: float) -> None:
        """Keep a header for most of the seconds that it is good for."""
        with self._lock:
            good = min(max(seconds, 0.0), _MOST_SECONDS) * (1 - _MARGIN)
            self._kept[server, scope] = (header, self._clock() + good)

    def drop(self, server: str, scope: str) -> None:
        """Forget a header that did not work."""
        with self._lock:
            self._kept.pop((server, scope), None)


def challenges(headers: Iterable[str]) -> list[Challenge]:
    """Return the challenges in values of ``WWW-Authenticate``, without malformed ones."""
    found: list[Challenge] = []
    for header in headers:
        rest = header[:_MAX_HEADER]
        while (scheme := _SCHEME.match(rest)) is not None:
            rest = rest[scheme.end() :]
            parameters: dict[str, str] = {}
            while (parameter := _PARAMETER.match(rest)) is not None:
                quoted = parameter["quoted"]
                value = parameter["plain"] if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
                parameters.setdefault(parameter["name"].lower(), value)
                rest = rest[parameter.end() :]
            found.append(Challenge(scheme["scheme"].lower(), parameters))
    return found


def choose(offered: Iterable[Challenge]) -> Challenge | None:
    """Return the challenge to answer: a bearer token rather than a password."""
    usable = {each.scheme: each for each in reversed([*offered])}
    bearer = usable.get("bearer")
    if bearer is not None and bearer.parameters.get("realm"):
        return bearer
    return usable.get("basic")


def basic(login: Login) -> str:
    """Return the value of ``Authorization`` for a user and a password."""
    pair = f"{login.username}:{login.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def read_token(answer: object) -> Token | None:
    """Return the token in an answer of a token server, None when there is none."""
    if not isinstance(answer, dict):
        return None
    text = answer.get("token") or answer.get("access_token")
    seconds = answer.get("expires_in")
    if not isinstance(text, str) or not text.isascii() or not text.isprintable():
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds <= 0:
        seconds = _DEFAULT_SECONDS
    return Token(text, float(seconds))
