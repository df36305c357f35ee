"""The pass over a script that finds the parts that matter (psqlscan.l, mainloop.c).

These are the commands that read files or change how the rest is read, and the statements that do
so. Quoted text, comments and the data of ``COPY … FROM STDIN`` are skipped.
"""

import hashlib
import re

from . import tokens
from .copy_command import parse_copy
from .meta_commands import CLEARS_BUFFER, KNOWN, SENDS_BUFFER, arguments_end
from .parts import Command, Doubt, Parts, Statement, Text, decoded, encoded
from .prescan import changes_settings, contains_command, mentions_setting
from .settings import UTF8, LexerSettings, masked

Token = re.Match[bytes]

_BOM = b"\xef\xbb\xbf"

_RESETS_SETTINGS = re.compile(rb"\s*(?:rollback|abort|reset\s+all|discard\s+all)\b", re.I)
# Statements for which the server reads or writes files.
_SERVER_FUNCTION = re.compile(
    rb"\b(?:pg_read_(?:binary_)?file|pg_ls_dir|lo_import|lo_export)\s*\(", re.I
)
_SERVER_COPY = re.compile(rb"(?:\A|;)\s*copy\b[^;]*\b(?:from|to)\s+(?:program\s*)?'", re.I)
_COPY_FROM_STDIN = re.compile(rb"(?:\A|;)\s*copy\b[^;]*\bfrom\s+stdin\b", re.IGNORECASE)
_BINARY = re.compile(rb"\bbinary\b", re.IGNORECASE)
_COPY_END = re.compile(rb"\\\.\r?(?:\n|\Z)")
# Data that would be more than words if they were read as a script.
_NOT_ONLY_WORDS = re.compile(rb"""['"\\$]|--|/\*""")
_SPLIT_CHARACTER = re.compile(rb"[\x80-\xff][\\`]")


def scan(script: bytes, settings: LexerSettings) -> Parts:
    """Split a script; the caller answers each part with the settings that follow it."""
    return _Scanner(script, settings).parts()


class _Scanner:
    """A pass over a script.

    ``_text`` is the script as psql looks at it, with the same positions: in some encodings,
    characters that could be mistaken are masked, and so is the data of COPY.

    psql also counts ``BEGIN`` and ``END`` in functions with SQL bodies, so that it does not send
    half a statement. That makes no difference here: no statement that matters can begin in such
    a body.
    """

    def __init__(self, script: bytes, settings: LexerSettings) -> None:
        self._script = script
        self._settings = settings
        self._pattern = _token_pattern(settings)
        self._text = bytearray(masked(script, settings.encoding))
        self._position = 0
        self._done = 0  # up to where the script has been handed out
        self._line, self._counted = 1, 0
        # psql decides line by line how strings are read: a change applies from the next line on.
        self._standard_strings = settings.standard_conforming_strings
        self._change_at: int | None = None
        self._parens = 0
        self._code = bytearray()  # the statement so far, without its quoted text
        self._full = bytearray()  # the same with its quoted text
        self._before = b""  # the code between the last token and the one before it
        self._previous = b""  # the statement that was sent last
        self._saved: tuple[int, bytearray, bytearray] | None = None
        self._data = range(0)  # where the data of COPY lies that was found last
        self._changes_settings = changes_settings(script)

    def parts(self) -> Parts:
        if self._settings.encoding in (UTF8, None) and self._script.startswith(_BOM):
            self._position = len(_BOM)
        yield from self._doubt_characters(0)
        if b"\0" in self._script:
            yield from self._doubt("it contains a NUL character", 0)
        while token := self._next():
            self._add_code(token.start())
            if self._change_at is not None and token.start() >= self._change_at:
                self._standard_strings = self._settings.standard_conforming_strings
                self._change_at = None
            self._position = token.end()
            kind = token.lastgroup
            if token.group() == b"::":
                self._add(b"::")
            elif kind == "end":
                self._add(b";")
                if not self._parens:
                    yield from self._send()
            elif kind == "newline":
                self._add(b"\n")
                if self._settings.single_line and not self._parens:
                    yield from self._send()
            elif kind == "variable":
                yield from self._variable(token)
            elif kind in ("command", None):
                yield from self._command(token)
            else:
                yield from self._quoted(token)
        self._add_code(len(self._text))
        yield from self._send(last=True)
        yield self._pending_text(len(self._script))

    def _next(self) -> Token | None:
        """Return the next token that is not in the data of COPY."""
        if self._position < self._data.stop:
            token = self._pattern.search(self._text, self._position, self._data.start)
            if token is not None:
                return token
            self._add_code(self._data.start)
            self._position = max(self._position, self._data.stop)
        return self._pattern.search(self._text, self._position)

    def _add_code(self, end: int) -> None:
        """Add the code before the next token to the statement, and count its parentheses."""
        code = bytes(self._text[self._position : end])
        opened, closed = code.count(b"("), code.count(b")")
        if closed <= self._parens:
            self._parens += opened - closed
        else:
            for each in tokens.PARENTHESIS.findall(code):
                self._parens = self._parens + 1 if each == b"(" else max(0, self._parens - 1)
        self._add(code)
        self._before = code

    def _add(self, code: bytes, full: bytes | None = None) -> None:
        self._code += code
        self._full += code if full is None else full

    def _clear(self) -> None:
        self._code, self._full = bytearray(), bytearray()

    def _pending_text(self, end: int) -> Text:
        """Return the stretch of script that has not been handed out yet."""
        return Text(hashlib.sha256(self._script[self._done : end]).hexdigest())

    # -- commands --

    def _command(self, token: Token) -> Parts:
        raw = token["command"]
        if raw in (b";", b":"):  # sent with the statement
            self._add(raw)
            return
        if raw in (None, b"\\"):  # a separator
            return
        name = raw.decode("ascii", "replace")
        name = "copy" if name.lower() == "copy" else name
        start, end = self._position, arguments_end(self._text, self._position, name)
        self._position = end
        if name in KNOWN:
            yield self._pending_text(token.start())
            self._done = end
            if _SPLIT_CHARACTER.search(self._script[start:end]) and (
                self._text[start:end] != self._script[start:end]
            ):
                yield from self._doubt("a file name contains an ambiguous character", start)
            arguments = decoded(self._script[start:end]).strip()
            command = Command(name, arguments, self._line_of(token.start()))
            yield from self._apply((yield command))
            if name == "copy" and self._settings.active is not False:
                copy = parse_copy(arguments)
                if copy is not None and copy.inline:
                    binary = _BINARY.search(encoded(arguments)) is not None
                    yield from self._skip_data(binary=binary)
        if self._settings.active is False:
            return
        if name in CLEARS_BUFFER:
            self._clear()
            self._parens = 0
        elif name in SENDS_BUFFER:
            if not self._code.strip():
                self._add(self._previous)
            yield from self._send()
            self._parens = 0

    def _apply(self, settings: LexerSettings) -> Parts:
        """Read on with other settings."""
        before, self._settings = self._settings, settings
        self._pattern = _token_pattern(settings)
        if settings.encoding != before.encoding:
            rest = max(tokens.after(self._text, b"\n", self._position), self._data.stop)
            self._text[rest:] = masked(self._script[rest:], settings.encoding)
            yield from self._doubt_characters(rest)
        if settings.standard_conforming_strings != before.standard_conforming_strings:
            self._change_at = tokens.after(self._text, b"\n", self._position)
        if (settings.active is False) != (before.active is False):
            # A branch that is not taken never contributes to a statement.
            if settings.active is False:
                self._saved = self._parens, self._code.copy(), self._full.copy()
            elif self._saved is not None:
                self._parens, self._code, self._full = self._saved

    # -- statements --

    def _send(self, *, last: bool = False) -> Parts:
        """Follow what happens to the statement that ends here."""
        if self._settings.active is False:
            return
        code, full = bytes(self._code), bytes(self._full)
        if not code.strip():
            return
        self._clear()
        self._previous = code
        server_files = _SERVER_COPY.search(code) or _SERVER_FUNCTION.search(full)
        changes = self._changes_settings and mentions_setting(full)
        if server_files or changes or _RESETS_SETTINGS.match(code):
            line = self._line_of(min(self._position, len(self._script) - 1))
            statement = Statement(decoded(full).strip(), line, server_files is not None)
            yield from self._apply((yield statement))
        if not last:
            for copy in _COPY_FROM_STDIN.finditer(code):
                yield from self._skip_data(binary=bool(_BINARY.search(copy.group())))

    def _skip_data(self, *, binary: bool) -> Parts:
        """Mask the data of a COPY, which begins on the next line or after that of another."""
        start = self._position
        if self._text[start - 1 : start] != b"\n":
            start = tokens.after(self._text, b"\n", start)
        following = start <= self._data.stop
        start = max(start, self._data.stop)
        last, end = self._end_of_data(start)
        if binary or not self._settings.certain:
            reason = "is in binary format" if binary else "is read as a script if COPY is not run"
            if _NOT_ONLY_WORDS.search(self._script, start, last):
                yield from self._doubt(f"the data of a COPY {reason}", start)
        self._text[start:end] = b" " * (end - start)
        self._data = range(self._data.start if following else start, end)

    def _end_of_data(self, start: int) -> tuple[int, int]:
        """Return where the line that ends the data begins, and where the script continues."""
        for found in _COPY_END.finditer(self._script, start):
            if found.start() in (0, start) or self._script[found.start() - 1] == ord("\n"):
                return found.span()
        return len(self._script), len(self._script)

    # -- quoted text --

    def _quoted(self, token: Token) -> Parts:
        kind, start = token.lastgroup, token.end()
        if kind == "dollar" and tokens.ends_in_name(self._before):
            # Names may contain dollars.
            self._position = tokens.name_end(self._text, token.start())
            self._add(bytes(self._text[token.start() : self._position]))
            return
        if kind in ("line", "block"):
            end = tokens.line_end if kind == "line" else tokens.block_end
            self._position = end(self._text, start)
            self._add(b" ")
            return
        if kind == "dollar":
            self._position = tokens.after(self._text, token.group(), start)
        elif kind == "identifier":
            self._position = tokens.after(self._text, b'"', start)
        else:
            yield from self._string(token)
        placeholder = b' "" ' if kind == "identifier" else b" '' "
        self._add(placeholder, self._script[token.start() : self._position])

    def _string(self, token: Token) -> Parts:
        start = token.end()
        escapes = tokens.has_escapes(
            token.lastgroup, self._before, standard_conforming_strings=self._standard_strings
        )
        end = tokens.string_end(self._text, start, escapes=escapes is not False)
        if escapes is None and end != tokens.string_end(self._text, start, escapes=False):
            reason = "where a string ends depends on standard_conforming_strings"
            yield from self._doubt(reason, start)
        self._position = end

    def _variable(self, token: Token) -> Parts:
        """Follow a variable that a statement uses."""
        name = decoded(token["variable"])
        text = dict(self._settings.syntax_variables).get(name)
        if text is None:
            self._add(token.group())
            return
        self._add(b" '' ")
        value = encoded(text)
        reason = f"the variable {name} holds a command or part of a statement"
        if contains_command(value):
            yield Doubt(reason, self._line_of(token.start()))
        elif not tokens.is_complete(value, standard_conforming_strings=self._standard_strings):
            yield from self._doubt(reason, token.start())

    # -- doubts and lines --

    def _doubt(self, reason: str, position: int) -> Parts:
        """Yield a doubt, unless the rest of the script reads no file however it is read."""
        if contains_command(self._script, position):
            yield Doubt(reason, self._line_of(position))

    def _doubt_characters(self, start: int) -> Parts:
        if self._settings.encoding is None and _SPLIT_CHARACTER.search(self._script, start):
            yield from self._doubt("the client encoding decides how it is read", start)

    def _line_of(self, position: int) -> int:
        if position < self._counted:
            return 1 + self._script.count(b"\n", 0, position)
        self._line += self._script.count(b"\n", self._counted, position)
        self._counted = position
        return self._line


def _token_pattern(settings: LexerSettings) -> re.Pattern[bytes]:
    every = settings.single_line or settings.syntax_variables
    return tokens.EVERY_TOKEN if every else tokens.TOKEN
