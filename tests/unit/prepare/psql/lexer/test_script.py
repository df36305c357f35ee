"""Scripts: split into parts once, and again only where other settings apply."""

import hashlib

from sqlrs_engine.prepare.psql.lexer.parts import Command, Doubt, Text
from sqlrs_engine.prepare.psql.lexer.script import Script
from sqlrs_engine.prepare.psql.lexer.settings import LexerSettings


def test_a_script_is_loaded_again_only_where_the_settings_differ():
    text = b"\\echo a\n\\set x 1\nselect 'a\\';\n\\i x.sql\n';\n\\i y.sql\n"
    loads = []
    script = Script(text, lambda: loads.append(1) or text)
    settings = {
        "before": LexerSettings(),
        "after": LexerSettings(standard_conforming_strings=False),
    }

    def names(after):
        found = []
        for part in script.parts(lambda: settings[after if found else "before"]):
            if isinstance(part, Command):
                found.append(part.arguments)
        return found

    assert (names("before"), len(loads)) == (["x 1", "x.sql"], 0)
    assert (names("after"), len(loads)) == (["x 1", "y.sql"], 1)
    assert (names("after"), len(loads)) == (["x 1", "y.sql"], 1)
    assert (names("before"), len(loads)) == (["x 1", "x.sql"], 2)


def test_a_plain_script_stays_plain_after_a_variable_held_a_command():
    text = b":a\n"
    script = Script(text, lambda: text)
    holding = LexerSettings(syntax_variables=(("a", "\\i x.sql"),))
    plain = [Text(hashlib.sha256(text).hexdigest())]
    assert list(script.parts(LexerSettings)) == plain
    assert any(isinstance(part, Doubt) for part in script.parts(lambda: holding))
    assert list(script.parts(LexerSettings)) == plain
