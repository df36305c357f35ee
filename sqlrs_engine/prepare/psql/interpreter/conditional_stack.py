r"""The nested ``\if`` blocks of one script (psql's conditional.c)."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Block:
    """``taken`` is whether a branch so far is taken, ``active`` whether the current one is.

    None means that only psql knows.
    """

    taken: bool | None
    active: bool | None


class ConditionalStack:
    """The open blocks of a script; an included script begins with none."""

    def __init__(self) -> None:
        self._blocks: list[_Block] = []
        self._quit: bool | None = False

    @property
    def active(self) -> bool | None:
        """Whether what comes next is executed; None if only psql knows."""
        states = [block.active for block in self._blocks]
        states.append(None if self._quit is None else not self._quit)
        if False in states:
            return False
        return None if None in states else True

    @property
    def nested(self) -> bool:
        """Whether a block is open."""
        return bool(self._blocks)

    def begin(self, holds: bool | None) -> None:
        r"""Open a block for an ``\if`` whose condition ``holds`` or not."""
        if self.active is False:
            self._blocks.append(_Block(taken=True, active=False))
        else:
            self._blocks.append(_Block(taken=holds, active=holds))

    def otherwise(self, holds: bool | None = True) -> None:
        r"""Begin the next branch of a block, for an ``\elif`` or an ``\else``."""
        if not self._blocks:
            return
        block = self._blocks[-1]
        if block.taken is True or holds is False:
            block.active = False
        elif block.taken is None:
            block.active = None
            block.taken = True if holds else None
        else:
            block.active = block.taken = holds

    def end(self) -> None:
        r"""Close the innermost block, for an ``\endif``."""
        if self._blocks:
            self._blocks.pop()

    def quit(self) -> None:
        r"""End the script, for a ``\q``; the script that includes it continues."""
        active = self.active
        if active is not False and self._quit is False:
            self._quit = True if active else None
        elif active:
            self._quit = True
