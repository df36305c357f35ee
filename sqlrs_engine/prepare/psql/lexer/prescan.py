r"""Quick searches for anything in a script that the digest of its text does not cover.

Most scripts contain nothing of this kind and do not need the full pass (``scanner``). These
searches may find something in a comment or a string, but never miss anything.
"""

import re

from .meta_commands import CONDITIONALS, KNOWN
from .parts import encoded
from .settings import LexerSettings

# Nothing else matters in a script without one of these. An included file that reads nothing may
# still set a variable that names the next file.
_COMMAND = re.compile(
    rb"\\(?:!|(?:%s|[cC][oO][pP][yY])(?![^\s\\]))"
    % b"|".join(sorted(name.encode() for name in KNOWN - CONDITIONALS - {"!", "copy"}))
)
# The condition of a block may come from a program.
_CONDITION_PROGRAM = re.compile(rb"\\(?:el)?if\b[^\n]*`")
# Statements that change how strings are read, or the client's encoding.
_SETTING_WORDS = (b"standard_conforming_strings", b"client_encoding", b"names")
_SETTING = re.compile(rb"standard_conforming_strings|client_encoding|\bset\s+names\b", re.I)
# Statements for which the server reads or writes files.
_SERVER_FILE_WORDS = (b"pg_read_", b"pg_ls_", b"lo_import", b"lo_export")
_COPY = re.compile(rb"\bcopy\b")
# What may be the end of such a COPY, found in one pass: only the first 200 characters of a
# comment are searched. The groups are not possessive: Python before 3.11.5 matches some of those
# wrongly.
_BEFORE_FILE = re.compile(
    rb"\b(?:from|to|program)(?=[\s'/e-])"
    rb"(?:\s++|--[^\n]{0,200}+\n|/\*(?:[^*]|\*(?!/)){0,200}\*/){0,50}e?'"
)


def is_plain(script: bytes) -> bool:
    """Return whether a script reads no file and changes no setting: it is a single ``Text``."""
    if _COMMAND.search(script) or _CONDITION_PROGRAM.search(script):
        return False
    lower = script.lower()
    if any(word in lower for word in _SERVER_FILE_WORDS):
        return False
    if _BEFORE_FILE.search(lower) and _COPY.search(lower):
        return False
    return not changes_settings(script, lower)


def changes_settings(script: bytes, lower: bytes | None = None) -> bool:
    """Return whether statements may change the session's settings.

    ``lower`` is the script in lower case, where the caller has it.
    """
    lower = script.lower() if lower is None else lower
    return any(word in lower for word in _SETTING_WORDS) and mentions_setting(script)


def mentions_setting(text: bytes) -> bool:
    """Return whether a text names one of the settings that decide how a script is read."""
    return _SETTING.search(text) is not None


def contains_command(script: bytes, start: int = 0) -> bool:
    """Return whether there is, from ``start`` on, a backslash command that matters."""
    return _COMMAND.search(script, start) is not None


def commands_in_variables(settings: LexerSettings) -> bool:
    """Return whether a variable holds a command, so that any use of it matters."""
    return any(contains_command(encoded(value)) for _, value in settings.syntax_variables)
