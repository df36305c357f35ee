"""A cap on how many of something are open at once."""

from sqlrs_engine.errors import Unavailable


class OpenLimit:
    """Counts what is open; used by the event loop's thread alone."""

    def __init__(self, limit: int, noun: str) -> None:
        self._limit = limit
        self._noun = noun
        self.taken = 0

    def take(self) -> None:
        """Take a slot. Raises Unavailable when there is none."""
        if self.taken >= self._limit:
            raise Unavailable(
                f"too many open {self._noun}", f"close one of {self._limit} and try again"
            )
        self.taken += 1

    def give_back(self) -> None:
        """Give a slot back."""
        self.taken -= 1
