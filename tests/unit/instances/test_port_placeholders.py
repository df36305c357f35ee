"""Sockets that keep ports while no server has them."""

import socket

import pytest

from sqlrs_engine.instances.port_placeholders import PortPlaceholders, reuse_supported


@pytest.fixture
def placeholders():
    placeholders = PortPlaceholders()
    yield placeholders
    placeholders.close()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def listening(port):
    """Return a socket that listens as PostgreSQL's does. Raises OSError."""
    return socket.create_server(("127.0.0.1", port))


def test_a_listening_socket_takes_its_port(placeholders):
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not placeholders.hold(server.getsockname()[1])


def test_a_placeholder_keeps_others_from_its_port_and_accepts_no_connection(placeholders):
    port = free_port()
    assert placeholders.hold(port)
    assert placeholders.hold(port)
    with pytest.raises(OSError, match="in use"):
        listening(port)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
    placeholders.release(port)
    listening(port).close()


@pytest.mark.skipif(not reuse_supported(), reason="the system does not share bound ports")
def test_a_placeholder_outlives_the_server_that_it_admitted(placeholders):
    port = free_port()
    placeholders.hold(port)
    for _ in range(2):
        with placeholders.admitting(port):
            server = listening(port)
        with server, socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # what lingers of it does not matter
        with pytest.raises(OSError, match="in use"):
            listening(port)


def test_where_ports_cannot_be_shared_a_placeholder_is_released_for_its_server(
    placeholders, monkeypatch
):
    monkeypatch.setattr("sqlrs_engine.instances.port_placeholders.reuse_supported", lambda: False)
    port = free_port()
    placeholders.hold(port)
    with placeholders.admitting(port), listening(port):
        assert not placeholders.hold(port)
    assert placeholders.hold(port)
