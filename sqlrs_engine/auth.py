"""The engine's token: clients present it, and the engine proves that it knows it."""

import hmac

# Distinguishes the proof from anything else that may be derived from the token.
_PURPOSE = b"sqlrs-engine health\n"


def proof(token: str, challenge: str) -> str:
    """Return the HMAC-SHA256 of a challenge under the token, as 64 hexadecimal digits."""
    return hmac.new(token.encode(), _PURPOSE + challenge.encode(), "sha256").hexdigest()


class Bearer:
    """Verifies bearer tokens against the engine's own, in constant time."""

    def __init__(self, token: str) -> None:
        """Keep ``token``.

        Raises ValueError when it is empty: such an engine would accept every client.
        """
        if not token.strip():
            raise ValueError("the engine's token is empty")
        self._token = token.encode()
        self._text = token

    def prove(self, challenge: str) -> str:
        """Return the proof of the token, for a client that checks it before it sends the token."""
        return proof(self._text, challenge)

    def accepts(self, authorization: bytes | None) -> bool:
        """Return whether a raw header value is ``Bearer`` and the token."""
        scheme, _, credentials = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(credentials.strip(), self._token)
