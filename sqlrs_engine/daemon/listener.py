"""The listening socket, from ``HOST:PORT`` text."""

import socket
from dataclasses import dataclass

from sqlrs_engine.errors import InvalidArgument, Unavailable

_BACKLOG = 256
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound, listening socket; connections queue until the engine serves them.

    ``endpoint`` is the ``host:port`` that clients on this machine use; ``host`` is the name from
    the ``--listen`` address.
    """

    socket: socket.socket
    endpoint: str
    host: str

    @property
    def loopback(self) -> bool:
        """Whether only this machine can connect."""
        address: str = self.socket.getsockname()[0]
        return address.startswith("127.") or address == "::1"

    def host_names(self) -> list[str]:
        """Return the names that clients may put into ``Host``, without a port."""
        names = [self.host] if self.host else []
        return names if self.loopback else [*names, socket.gethostname()]


def listen_on(text: str) -> Listener:
    """Listen on ``127.0.0.1:0``, ``localhost:7333``, ``[::1]:0`` or ``:7333`` (anywhere).

    Raises:
        InvalidArgument: The text has another form.
        Unavailable: The address cannot be bound.
    """
    host, separator, port_text = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if not separator or not port_text.isdecimal() or int(port_text) > 65535:
        raise InvalidArgument("invalid --listen address", f"{text!r} is not HOST:PORT")
    if ":" in bare and bare == host:
        raise InvalidArgument("invalid --listen address", f"{text!r}: write [{host}]:{port_text}")
    sock = None
    try:
        infos = socket.getaddrinfo(
            bare or "0.0.0.0",  # noqa: S104
            int(port_text),
            type=socket.SOCK_STREAM,
            flags=socket.AI_PASSIVE,
        )
        family, _, _, _, address = infos[0]
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(_BACKLOG)
    except OSError as error:
        if sock is not None:
            sock.close()
        raise Unavailable(
            f"cannot listen on {text}: choose another address or port", error.strerror or str(error)
        ) from error
    bound, port = sock.getsockname()[:2]
    reachable = _WILDCARDS.get(bound, bound)
    shown = f"[{reachable}]" if ":" in reachable else reachable
    return Listener(sock, f"{shown}:{port}", host)
