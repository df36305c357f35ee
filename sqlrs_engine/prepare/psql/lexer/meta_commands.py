r"""psql's backslash commands: their names, and where their arguments end (psql(1))."""

import re

INCLUDES = frozenset({"i", "include", "ir", "include_relative"})
RELATIVE = frozenset({"ir", "include_relative"})
READS = INCLUDES | {"copy", "lo_import"}
# These write to a file or a pipe that their arguments name.
OUTPUTS = frozenset({"o", "out", "w", "write", "g", "gx"})
WRITES = OUTPUTS | {"!", "lo_export", "s"}
CONDITIONS = frozenset({"if", "elif", "else", "endif"})
VARIABLES = frozenset({"set", "unset"})
# What a variable holds after one of these is known to psql alone.
UNKNOWN_VARIABLES = frozenset({"gset", "prompt", "getenv"})
CONNECTS = frozenset({"c", "connect"})
QUITS = frozenset({"q", "quit"})
# The query buffer goes through an editor, and what comes back is read anew.
EDITS = frozenset({"e", "edit", "ef", "ev"})
OTHERS = frozenset({"cd", "setenv", "encoding"})
# What psql does with each of these changes what it reads.
KNOWN = (
    READS | WRITES | CONDITIONS | VARIABLES | UNKNOWN_VARIABLES | CONNECTS | QUITS | EDITS | OTHERS
)

SENDS = frozenset(
    {"g", "gx", "gset", "gexec", "gdesc", "crosstabview", "watch", "parse", "sendpipeline"}
)
FORGETS = frozenset({"r", "reset"})

# All that follows these on their line is theirs, backslashes included.
_WHOLE_LINE = frozenset({"!", "copy", "ef", "ev", "h", "help", "sf", "sf+", "sv", "sv+"})
_WORD = rb"""(?:'(?:[^'\\\n]|''|\\[^\n])*'|"[^"\n]*"|`[^`\n]*`|[^\s'"`\\])+"""
_ARGUMENT = re.compile(rb"[ \t\r\f\v]*(" + _WORD + rb")?")


def arguments_end(text: bytes | bytearray, start: int, name: str) -> int:
    """Return where the arguments of a command end that begin at ``start``.

    That is where its line does, or where the next command begins: an unquoted backslash.
    """
    end = text.find(b"\n", start)
    end = len(text) if end < 0 else end
    if name in _WHOLE_LINE:
        return end
    first, in_options = True, False
    position = start
    while match := _ARGUMENT.match(text, position, end):
        word = match[1]
        at = match.end() - len(word or b"")
        if name in OUTPUTS and first and text[at : at + 1] == b"|":
            return end
        position = match.end()
        if word is None:
            break
        # The options of \g stand in parentheses before the name of the file.
        if name in ("g", "gx") and (in_options or (first and word.startswith(b"("))):
            in_options = not word.endswith(b")")
            first = not in_options
        else:
            first = False
    return position if text[position : position + 1] == b"\\" else end
