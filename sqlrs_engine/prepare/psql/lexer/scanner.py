r"""psql scripts, taken apart by psql's own lexical rules (psql(1); psqlscan.l, mainloop.c).

What a preparation's identity depends on is looked for: the commands that read files or
change how what follows is read, and the statements that do. Quoted text, comments and the
data of ``COPY … FROM STDIN`` are passed over.
"""

import hashlib
import re

from sqlrs_engine.prepare.psql.lexer.copy_command import parse_copy
from sqlrs_engine.prepare.psql.lexer.meta_commands import (
    CONDITIONS,
    FORGETS,
    KNOWN,
    SENDS,
    arguments_end,
)
from sqlrs_engine.prepare.psql.lexer.parts import Command, Doubt, Parts, Statement, Text
from sqlrs_engine.prepare.psql.lexer.settings import UTF8, ReadingMode, masked

__all__ = ["hides_commands", "lex", "matters", "means_more"]

_BOM = b"\xef\xbb\xbf"

# Nothing else matters in a script without one of these, and most scripts have none. An
# included file that reads nothing may yet set a variable that names the next file.
_MATTERS = re.compile(
    rb"\\(?:!|(?:%s|[cC][oO][pP][yY])(?![^\s\\]))"
    % b"|".join(sorted(name.encode() for name in KNOWN - CONDITIONS - {"!", "copy"}))
)
# Statements after which strings are read in another way, or their encoding is another.
_SETTINGS = (b"standard_conforming_strings", b"client_encoding", b"names")
_SETTING = re.compile(rb"standard_conforming_strings|client_encoding|\bset\s+names\b", re.I)
_ENDS = re.compile(rb"\s*(?:rollback|abort|reset\s+all|discard\s+all)\b", re.I)
# Statements with which the server reads or writes files.
_SERVER_WORDS = (b"pg_read_", b"pg_ls_", b"lo_import", b"lo_export")
_SERVER_FUNCTION = re.compile(
    rb"\b(?:pg_read_(?:binary_)?file|pg_ls_dir|lo_import|lo_export)\s*\(", re.I
)
_SERVER_COPY = re.compile(rb"(?:\A|;)\s*copy\b[^;]*\b(?:from|to)\s+(?:program\s*)?'", re.I)
# What may be such a COPY, found in one pass: only so much of a comment is looked through. The
# groups are not possessive: Python before 3.11.5 matches some of those wrongly.
_COPY_WORD = re.compile(rb"\bcopy\b")
_BEFORE_FILE = re.compile(
    rb"\b(?:from|to|program)(?=[\s'/e-])"
    rb"(?:\s++|--[^\n]{0,200}+\n|/\*(?:[^*]|\*(?!/)){0,200}\*/){0,50}e?'"
)
# The condition of a block may be a program's.
_TEST = re.compile(rb"\\(?:el)?if\b[^\n]*`")

_TOKENS = rb"""
      (?P<escaped>[eE]')
    | (?P<string>')
    | (?P<identifier>")
    | (?P<dollar>\$(?:[A-Za-z_\x80-\xff][\w\x80-\xff]*)?\$)
    | (?P<line>--)
    | (?P<block>/\*)
    | (?P<end>;)
    | \\(?P<command>[;:]|\\|[^\s\\]+)?
    """
_TOKEN = re.compile(_TOKENS, re.VERBOSE)
# Most of the time the ends of lines and the names of variables are like any other text.
_EVERY_TOKEN = re.compile(
    _TOKENS + rb"| (?P<newline>\n) | ::|:(?P<variable>[\w\x80-\xff]+)", re.VERBOSE
)
_PARENTHESIS = re.compile(rb"[()]")
_PAIR = re.compile(rb"\([^()]*\)")
# The rest of a string, its last quote included.
_PLAIN = re.compile(rb"[^']*+(?:''[^']*+)*+'")
_ESCAPED = re.compile(rb"[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+'", re.DOTALL)
# A string goes on after white space with an end of line; of those, psql sees only a CR.
_CONTINUED = re.compile(
    rb"(?:[ \t\f\v]|--[^\n\r]*)*\r(?:[ \t\f\v\r]|--[^\n\r]*\r)*'",
)
_BLOCK_EDGE = re.compile(rb"/\*|\*/")
_LINE_END = re.compile(rb"[\n\r]")
_NAME = rb"[\w$\x80-\xff]"
_NAME_BEFORE = re.compile(rb"[A-Za-z_\x80-\xff]" + _NAME + rb"*\Z")
_REST_OF_NAME = re.compile(_NAME + rb"*")
_ENDS_NAME = re.compile(_NAME + rb"\Z")
# Strings that never have escapes, and what stands before their quote.
_KIND = re.compile(rb"(?<!" + _NAME + rb")(?:[uU]&|[bBxX])\Z")
_COPY_FROM_STDIN = re.compile(rb"(?:\A|;)\s*copy\b[^;]*\bfrom\s+stdin\b", re.IGNORECASE)
_BINARY = re.compile(rb"\bbinary\b", re.IGNORECASE)
_COPY_END = re.compile(rb"\\\.\r?(?:\n|\Z)")
# Data that would be anything but words, were they read as a script.
_DANGEROUS = re.compile(rb"""['"\\$]|--|/\*""")
_SPLIT_CHARACTER = re.compile(rb"[\x80-\xff][\\`]")
_MEANING = re.compile(rb"""['"\\;$()]|--|/\*|:[A-Za-z_\x80-\xff]""")


def lex(script: bytes, mode: ReadingMode) -> Parts:
    """Take a script apart; each part is answered with the mode that follows it.

    A script that reads no file and changes nothing is one ``Text``.
    """
    if matters(script) or hides_commands(mode):
        yield from _Lexer(script, mode).parts()
    else:
        yield Text(hashlib.sha256(script).hexdigest())


def matters(script: bytes) -> bool:
    """Return whether a script has more to it than one ``Text``."""
    if _MATTERS.search(script) or _TEST.search(script):
        return True
    lower = script.lower()
    if any(word in lower for word in _SERVER_WORDS) or _may_copy_files(lower):
        return True
    return _sets(script, lower)


def hides_commands(mode: ReadingMode) -> bool:
    """Return whether a variable holds a command, so that any use of it matters."""
    return any(_MATTERS.search(_bytes(value)) for _, value in mode.texts)


def _may_copy_files(lower: bytes) -> bool:
    return _BEFORE_FILE.search(lower) is not None and _COPY_WORD.search(lower) is not None


def _sets(script: bytes, lower: bytes) -> bool:
    return any(word in lower for word in _SETTINGS) and _SETTING.search(script) is not None


class _Lexer:
    """One pass over a script.

    ``_text`` is the script as psql looks at it: characters of an encoding that could be
    mistaken are masked, and so are the data of COPY once they have been passed over. Places
    in it are places in the script.

    psql counts ``BEGIN`` and ``END`` in functions with SQL bodies, too, so that it does not
    send half a statement. Here that makes no difference: no statement that matters can begin
    in such a body.
    """

    def __init__(self, script: bytes, mode: ReadingMode) -> None:
        self._script = script
        self._mode = mode
        self._text = bytearray(masked(script, mode.encoding))
        self._position = 0
        self._done = 0  # up to where the script has been handed out
        self._line, self._counted = 1, 0
        # How strings are read is settled by line: what changes it holds from the next on.
        self._strings = mode.strings
        self._turn: int | None = None
        self._parens = 0
        self._code = bytearray()  # the statement so far; quoted text only hinted at
        self._full = bytearray()  # the same with its quoted text
        self._before = b""  # what stands before the last token, back to the one before that
        self._previous = b""
        self._saved: tuple[int, bytearray, bytearray] | None = None
        self._data_end = 0
        self._sets = _sets(script, script.lower())

    def parts(self) -> Parts:
        if self._mode.encoding in (UTF8, None) and self._script.startswith(_BOM):
            self._position = len(_BOM)
        yield from self._doubt_characters(0)
        if b"\0" in self._script:
            yield from self._doubt("there is a NUL in it", 0)
        while token := self._next():
            self._pass_code(token.start())
            if self._turn is not None and token.start() >= self._turn:
                self._strings, self._turn = self._mode.strings, None
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
                if self._mode.singleline and not self._parens:
                    yield from self._send()
            elif kind == "variable":
                yield from self._variable(token)
            elif kind in ("command", None):
                yield from self._command(token)
            else:
                yield from self._quoted(token)
        self._pass_code(len(self._text))
        yield from self._send(last=True)
        yield Text(hashlib.sha256(self._script[self._done :]).hexdigest())

    def _next(self) -> "re.Match[bytes] | None":
        every = self._mode.singleline or self._mode.texts
        return (_EVERY_TOKEN if every else _TOKEN).search(self._text, self._position)

    def _pass_code(self, end: int) -> None:
        """Add what stands before the next token, in which parentheses are counted."""
        code = bytes(self._text[self._position : end])
        opened, closed = code.count(b"("), code.count(b")")
        if closed <= self._parens:
            self._parens += opened - closed
        else:
            for each in _PARENTHESIS.findall(code):
                self._parens = self._parens + 1 if each == b"(" else max(0, self._parens - 1)
        self._add(code)
        self._before = code

    def _add(self, code: bytes, full: bytes | None = None) -> None:
        self._code += code
        self._full += code if full is None else full

    def _forget(self) -> None:
        self._code, self._full = bytearray(), bytearray()

    # -- commands --

    def _command(self, token: "re.Match[bytes]") -> Parts:
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
            yield Text(hashlib.sha256(self._script[self._done : token.start()]).hexdigest())
            self._done = end
            if _SPLIT_CHARACTER.search(self._script[start:end]) and (
                self._text[start:end] != self._script[start:end]
            ):
                yield from self._doubt("a character that looks like two is in a name", start)
            arguments = _text(self._script[start:end])
            command = Command(name, arguments, self._line_of(token.start()))
            yield from self._follow((yield command))
            if name == "copy" and self._mode.active is not False:
                copy = parse_copy(arguments)
                if copy is not None and copy.inline:
                    binary = _BINARY.search(_bytes(arguments)) is not None
                    yield from self._pass_data(binary=binary)
        if self._mode.active is False:
            return
        if name in FORGETS:
            self._forget()
            self._parens = 0
        elif name in SENDS:
            if not self._code.strip():
                self._add(self._previous)
            yield from self._send()
            self._parens = 0

    def _follow(self, mode: ReadingMode) -> Parts:
        """Read on in another mode."""
        before, self._mode = self._mode, mode
        if mode.encoding != before.encoding:
            rest = max(_after(self._text, b"\n", self._position), self._data_end)
            self._text[rest:] = masked(self._script[rest:], mode.encoding)
            yield from self._doubt_characters(rest)
        if mode.strings != before.strings:
            self._turn = _after(self._text, b"\n", self._position)
        if (mode.active is False) != (before.active is False):
            # What stands in a branch that is not taken is never part of a statement.
            if mode.active is False:
                self._saved = self._parens, self._code.copy(), self._full.copy()
            elif self._saved is not None:
                self._parens, self._code, self._full = self._saved

    # -- statements --

    def _send(self, *, last: bool = False) -> Parts:
        """Note what is done with the statement that ends here."""
        if self._mode.active is False:
            return
        code, full = bytes(self._code), bytes(self._full)
        if not code.strip():
            return
        self._forget()
        self._previous = code
        server = _SERVER_COPY.search(code) or _SERVER_FUNCTION.search(full)
        if server or (self._sets and _SETTING.search(full)) or _ENDS.match(code):
            line = self._line_of(min(self._position, len(self._script) - 1))
            yield from self._follow((yield Statement(_text(full), line, server is not None)))
        if not last:
            for copy in _COPY_FROM_STDIN.finditer(code):
                yield from self._pass_data(binary=bool(_BINARY.search(copy.group())))

    def _pass_data(self, *, binary: bool) -> Parts:
        """Mask the data of a COPY, which begin on the next line or after those of another."""
        start = self._position
        if self._text[start - 1 : start] != b"\n":
            start = _after(self._text, b"\n", start)
        start = max(start, self._data_end)
        last, end = self._end_of_data(start)
        if binary or not self._mode.certain:
            reason = "are in binary format" if binary else "are read as a script if it is not run"
            if _DANGEROUS.search(self._script, start, last):
                yield from self._doubt(f"the data of a COPY {reason}", start)
        self._text[start:end] = b" " * (end - start)
        self._data_end = end

    def _end_of_data(self, start: int) -> tuple[int, int]:
        """Return where the line is that ends the data, and where the script goes on."""
        for found in _COPY_END.finditer(self._script, start):
            if found.start() in (0, start) or self._script[found.start() - 1] == ord("\n"):
                return found.span()
        return len(self._script), len(self._script)

    # -- quoted text --

    def _quoted(self, token: "re.Match[bytes]") -> Parts:
        kind, start = token.lastgroup, token.end()
        if kind == "dollar" and _NAME_BEFORE.search(self._before):
            # It is within a name, as dollars may be.
            name = _REST_OF_NAME.match(self._text, token.start())
            self._position = name.end() if name else start
            self._add(bytes(self._text[token.start() : self._position]))
            return
        if kind == "line":
            found = _LINE_END.search(self._text, start)
            self._position = found.start() if found else len(self._text)
            self._add(b" ")
            return
        if kind == "block":
            self._position = _after_block(self._text, start)
            self._add(b" ")
            return
        if kind == "dollar":
            self._position = _after(self._text, token.group(), start)
        elif kind == "identifier":
            self._position = _after(self._text, b'"', start)
        else:
            yield from self._string(token)
        mark = b' "" ' if kind == "identifier" else b" '' "
        self._add(mark, self._script[token.start() : self._position])

    def _string(self, token: "re.Match[bytes]") -> Parts:
        before, start = self._before, token.end()
        escapes = token.lastgroup == "escaped" and not _ENDS_NAME.search(before)
        if not escapes and not self._strings and not _KIND.search(before):
            escapes = True
            if self._strings is None and _string_end(
                self._text, start, escapes=True
            ) != _string_end(self._text, start, escapes=False):
                yield from self._doubt(
                    "it depends on standard_conforming_strings where a string ends", start
                )
        self._position = _string_end(self._text, start, escapes=escapes)

    def _variable(self, token: "re.Match[bytes]") -> Parts:
        """Look at what a variable puts into a statement."""
        name = _text(token["variable"])
        value = dict(self._mode.texts).get(name)
        if value is None:
            self._add(token.group())
            return
        self._add(b" '' ")
        reason = f"the variable {name} holds a command or part of a statement"
        if _MATTERS.search(_bytes(value)):
            yield Doubt(reason, self._line_of(token.start()))
        elif not _whole(_bytes(value), self._strings):
            yield from self._doubt(reason, token.start())

    def _doubt(self, reason: str, position: int) -> Parts:
        """Yield a doubt, unless nothing in the rest of the script could mean anything else."""
        if _MATTERS.search(self._script, position):
            yield Doubt(reason, self._line_of(position))

    def _doubt_characters(self, start: int) -> Parts:
        if self._mode.encoding is None and _SPLIT_CHARACTER.search(self._script, start):
            yield from self._doubt("it depends on the client's encoding what it says", start)

    def _line_of(self, position: int) -> int:
        if position < self._counted:
            return 1 + self._script.count(b"\n", 0, position)
        self._line += self._script.count(b"\n", self._counted, position)
        self._counted = position
        return self._line


def means_more(value: str) -> bool:
    """Return whether a variable's value is more than words where a statement uses it."""
    return _MEANING.search(_bytes(value)) is not None


def _whole(value: bytes, strings: bool | None) -> bool:
    """Return whether a value leaves nothing open: no quotes, no statement, no command."""
    position, code = 0, b""
    while token := _EVERY_TOKEN.search(value, position):
        code += value[position : token.start()]
        position, kind = token.end(), token.lastgroup
        if kind in ("string", "escaped"):
            ways = (True, False) if strings is None or kind == "escaped" else (not strings,)
            ends = {_closing(value, position, escapes=each) for each in ways}
            end = ends.pop()
            if end is None or ends:
                return False
            position = end
        elif kind == "identifier":
            position = value.find(b'"', position) + 1
            if not position:
                return False
        elif token.group() != b"::":
            return False
    code += value[position:]
    return not _PARENTHESIS.search(_PAIR.sub(b"", code))


def _string_end(text: bytes | bytearray, start: int, *, escapes: bool) -> int:
    """Return where a string ends, its script's end if nowhere."""
    end = _closing(text, start, escapes=escapes)
    return len(text) if end is None else end


def _closing(text: bytes | bytearray, start: int, *, escapes: bool) -> int | None:
    while True:
        match = (_ESCAPED if escapes else _PLAIN).match(text, start)
        if match is None:
            return None
        more = _CONTINUED.match(text, match.end()) if escapes else None
        if more is None:
            return match.end()
        start = more.end()


def _after_block(text: bytes | bytearray, start: int) -> int:
    depth = 1  # comments nest
    for edge in _BLOCK_EDGE.finditer(text, start):
        depth += 1 if edge.group() == b"/*" else -1
        if not depth:
            return edge.end()
    return len(text)


def _after(text: bytes | bytearray, what: bytes, start: int) -> int:
    found = text.find(what, start)
    return len(text) if found < 0 else found + len(what)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(script: bytes) -> str:
    """Decode a piece of a script so that nothing of it is lost."""
    return script.decode("utf-8", "surrogateescape").strip()
