"""Scripts: split into parts once, and again only where other settings apply."""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator

from .parts import Part, Text
from .prescan import commands_in_variables, is_plain
from .scanner import scan
from .settings import LexerSettings

_INITIAL = LexerSettings()


class Script:
    """A script and the parts that it was last split into, so that its bytes are rarely needed."""

    def __init__(self, content: bytes, load: Callable[[], bytes]) -> None:
        """``load`` returns the content again."""
        self.digest = hashlib.sha256(content).hexdigest()
        self._load = load
        self._plain = is_plain(content)
        # Each part with the settings under which it was read.
        self._known: tuple[tuple[Part, LexerSettings], ...] = ()
        if not self._plain:
            deque(self._scan(content, [_INITIAL], lambda: _INITIAL), maxlen=0)

    def parts(self, current_settings: Callable[[], LexerSettings]) -> Iterator[Part]:
        """Yield the parts; ``current_settings`` returns how to read each and is called before it.

        Raises what ``load`` does.
        """
        start = current_settings()
        if self._plain and not commands_in_variables(start):
            yield Text(self.digest)
            return
        known, settings = self._known, [start]
        if known and start == known[0][1]:
            for number, (part, _) in enumerate(known, start=1):
                yield part
                now = current_settings()
                if number < len(known) and now != known[number][1]:
                    settings = [before for _, before in known[:number]] + [now]
                    break
            else:
                return
        yield from self._scan(self._load(), settings, current_settings)

    def _scan(
        self,
        content: bytes,
        settings: list[LexerSettings],
        current_settings: Callable[[], LexerSettings],
    ) -> Iterator[Part]:
        """Split the script; all parts but the last of ``settings`` have been yielded before."""
        known: list[tuple[Part, LexerSettings]] = []
        before = settings[0]
        parts = scan(content, before)
        part = next(parts, None)
        while part is not None:
            known.append((part, before))
            if len(known) < len(settings):
                before = settings[len(known)]
            else:
                yield part
                before = current_settings()
            try:
                part = parts.send(before)
            except StopIteration:
                break
        self._known = tuple(known)
