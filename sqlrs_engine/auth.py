"""Bearer tokens: does an ``Authorization`` header carry the engine's?"""

import hmac


class Bearer:
    """Verifies bearer tokens against the engine's own, in constant time."""

    def __init__(self, token: str) -> None:
        """Keep ``token``.

        Raises ValueError when it is empty: such an engine would let anyone in.
        """
        if not token.strip():
            raise ValueError("the engine's token is empty")
        self._token = token.encode()

    def accepts(self, authorization: bytes | None) -> bool:
        """Tell whether a raw header value is ``Bearer`` and this token."""
        scheme, _, credentials = (authorization or b"").partition(b" ")
        if scheme.lower() != b"bearer":
            return False
        return hmac.compare_digest(credentials.strip(), self._token)
