"""Makes control characters visible, so that a terminal shows them instead of obeying them.

Escape sequences in a script's output, in an error or in a name could otherwise rewrite the screen,
set the window's title, or fill the clipboard.
"""

import re

# C0 without tab and newline, DEL, C1 (ECMA-48), and the controls of text direction (UAX #9).
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Return text with its control characters as ``\x1b`` or ``\u202e``.

    Tabs and newlines stay; ``\r\n`` becomes a newline.
    """
    return _CONTROLS.sub(_escaped, text.replace("\r\n", "\n"))


def visible_json(text: str) -> str:
    r"""Return JSON text with the control characters in it as ``\u009b``: the same JSON."""
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
