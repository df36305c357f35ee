r"""The ``\if`` blocks of one script, where it may be known to psql alone which branch is taken."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Block:
    """``taken`` tells whether a branch up to here is taken, ``current`` whether this one is.

    None is what only psql knows.
    """

    taken: bool | None
    current: bool | None


class Conditions:
    """Follows a script's blocks; psql knows those of one file only (psql's command.c)."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._over: bool | None = False

    @property
    def active(self) -> bool | None:
        """Whether what comes next is done."""
        states = [block.current for block in self._blocks]
        states.append(None if self._over is None else not self._over)
        if False in states:
            return False
        return None if None in states else True

    @property
    def nested(self) -> bool:
        """Whether the place is within a block."""
        return bool(self._blocks)

    def begin(self, holds: bool | None) -> None:
        r"""Follow an ``\if``."""
        if self.active is False:
            self._blocks.append(_Block(taken=True, current=False))
        else:
            self._blocks.append(_Block(taken=holds, current=holds))

    def otherwise(self, holds: bool | None = True) -> None:
        r"""Follow an ``\elif``, or an ``\else``."""
        if not self._blocks:
            return
        block = self._blocks[-1]
        if block.taken is True or holds is False:
            block.current = False
        elif block.taken is None:
            block.current = None
            block.taken = True if holds else None
        else:
            block.current = block.taken = holds

    def end(self) -> None:
        r"""Follow an ``\endif``."""
        if self._blocks:
            self._blocks.pop()

    def quit(self) -> None:
        r"""Follow a ``\q``: it ends the script, not that which includes it."""
        active = self.active
        if active is not False and self._over is False:
            self._over = True if active else None
        elif active:
            self._over = True
