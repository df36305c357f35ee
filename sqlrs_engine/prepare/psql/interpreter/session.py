"""The session of psql at a point of a script: variables, environment, directory, settings."""

import os
import pwd
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlrs_engine.prepare.psql.lexer.meta_commands import expand
from sqlrs_engine.prepare.psql.lexer.parts import Statement, encoded
from sqlrs_engine.prepare.psql.lexer.settings import UTF8, LexerSettings, encoding_family
from sqlrs_engine.prepare.psql.lexer.tokens import contains_syntax

# psql sets variables of its own, with names like these (psql(1), "Variables").
_PSQL_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_SPECIAL_VARIABLES = ("ON_ERROR_STOP", "SINGLELINE")
_SETTINGS = ("standard_conforming_strings", "client_encoding")
_SET = re.compile(
    r"\s*set\s+(?:session\s+)?(?:(?P<name>standard_conforming_strings|client_encoding)"
    r"\s*(?:=|\bto\b)|(?P<names>names)\b)\s*(?P<value>'[^']*'|\w+)?\s*;?\s*\Z",
    re.IGNORECASE,
)
_RESET = re.compile(
    r"\s*(?:reset\s+(?P<name>all|standard_conforming_strings|client_encoding)"
    r"|discard\s+all)\s*;?\s*\Z",
    re.IGNORECASE,
)
_ROLLBACK = re.compile(r"\s*(?:rollback|abort)\b", re.IGNORECASE)
# Statements whose effect may outlast the session.
_LASTING = re.compile(r"\s*(?:alter|create|do)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class SessionStart:
    """The start of a session: with the server's settings, and after earlier steps.

    ``written`` are the files that earlier steps write, ``programs`` the texts of the programs
    they run, which may write others.
    """

    standard_conforming_strings: bool | None = True
    encoding: str | None = UTF8
    written: frozenset[str] = frozenset()
    programs: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> "SessionStart":
        """Return how the first session begins with the given server settings."""
        given = {name.lower(): str(value) for name, value in settings.items()}
        strings = parse_boolean(given.get("standard_conforming_strings", "on"))
        return cls(strings, encoding_family(given.get("client_encoding", UTF8)))


@dataclass(slots=True)
class Session:
    """The state of a psql process, as far as it decides which files are read.

    ``directory`` is the working directory, None if the request gives none. ``home`` is
    ``$HOME``: empty if unset, None if not known.
    """

    start: SessionStart
    directory: Path | None
    home: str | None
    settings: LexerSettings = field(init=False)
    directory_known: bool = True
    variables: dict[str, str] = field(default_factory=dict)
    _uncertain: set[str] = field(default_factory=set)  # variables of which nothing is known
    _any_may_be_set: bool = False

    def __post_init__(self) -> None:
        self.settings = LexerSettings(
            standard_conforming_strings=self.start.standard_conforming_strings,
            encoding=self.start.encoding,
        )

    # -- variables --

    def assign(self, name: str, value: str | None, *, certain: bool = True) -> None:
        """Set a variable to a value, or to None if only psql knows the value.

        Unless ``certain``, psql may not get to the assignment.
        """
        if name in _SPECIAL_VARIABLES:
            self._assign_special(name, "on" if value == "" else value, certain=certain)
        if certain and value is not None:
            self.variables[name] = value
            self._uncertain.discard(name)
        else:
            self.variables.pop(name, None)
            self._uncertain.add(name)
        self._update_syntax_variables()

    def unset(self, name: str, *, certain: bool = True) -> None:
        """Remove a variable. Unless ``certain``, it may stay."""
        if name in _SPECIAL_VARIABLES:
            self._assign_special(name, "off", certain=certain)
        self.variables.pop(name, None)
        if certain:
            self._uncertain.discard(name)
        else:
            self._uncertain.add(name)
        self._update_syntax_variables()

    def forget_variables(self) -> None:
        """Forget all variables: any of them may have been set."""
        self.variables.clear()
        self._any_may_be_set = True
        self._update_syntax_variables()

    def expand(self, argument: str, *, semicolon: bool = True) -> str | None:
        """Return what an argument stands for, None if only psql knows."""
        return expand(argument, self.variables, exists=self.exists, semicolon=semicolon)

    def exists(self, name: str) -> bool | None:
        """Return whether there is a variable, None if only psql knows."""
        if name in self.variables:
            return True
        if self._any_may_be_set or name in self._uncertain or _PSQL_VARIABLE.match(name):
            return None
        return False

    def condition(self, arguments: Iterable[str]) -> bool | None:
        r"""Return the value of the expression of an ``\if``, None if only psql knows."""
        values = [self.expand(argument) for argument in arguments]
        if None in values:
            return None
        return parse_boolean(" ".join(value for value in values if value is not None)) is True

    def _assign_special(self, name: str, value: str | None, *, certain: bool) -> None:
        given = parse_boolean(value) if value is not None else None
        if value is not None and given is None:
            return  # psql refuses it
        if name == "ON_ERROR_STOP":
            if not certain and given != self.settings.on_error_stop:
                given = None
            self.settings = replace(self.settings, on_error_stop=given)
        elif certain and given is not None:
            self.settings = replace(self.settings, single_line=given)

    def _update_syntax_variables(self) -> None:
        variables = sorted(
            (name, value)
            for name, value in self.variables.items()
            if contains_syntax(encoded(value))
        )
        if tuple(variables) != self.settings.syntax_variables:
            self.settings = replace(self.settings, syntax_variables=tuple(variables))

    # -- directories --

    def home_directory(self) -> str | None:
        """Return what ``~`` means, None if that is not known."""
        return self.home or (None if self.home is None else passwd_home())

    def expand_tilde(self, name: str) -> str | None:
        """Expand a leading ``~`` as psql does; return None if only psql knows what it means."""
        if not name.startswith("~"):
            return name
        user, slash, rest = name[1:].partition("/")
        if not user:
            home = self.home_directory()
            return None if home is None else f"{home}{slash}{rest}"
        try:
            return f"{pwd.getpwnam(user).pw_dir}{slash}{rest}"
        except (KeyError, ValueError):  # no such user, or not a possible name
            return name

    # -- session settings --

    def reconnect(self, *, certain: bool) -> None:
        """Begin a new session with the initial settings."""
        for setting in _SETTINGS:
            self._set(setting, self._value_of(setting, "default"), certain=certain)

    def set_encoding(self, name: str | None, *, certain: bool) -> None:
        """Set the client's encoding."""
        self._set("client_encoding", name, certain=certain)

    def execute(self, statement: Statement) -> None:
        """Apply what a statement may change in the session's settings."""
        text = statement.text
        certain = self.settings.certain
        if match := _SET.match(text):
            setting = (match["name"] or "client_encoding").lower()
            given = (match["value"] or "default").strip("'")
            self._set(setting, self._value_of(setting, given), certain=certain)
        elif match := _RESET.match(text):
            for setting in _SETTINGS:
                if (match["name"] or "all").lower() in ("all", setting):
                    self._set(setting, self._value_of(setting, "default"), certain=certain)
        elif _ROLLBACK.match(text):
            started = self.start.standard_conforming_strings
            if self.settings.standard_conforming_strings != started:
                self._set("standard_conforming_strings", None, certain=True)
            if self.settings.encoding != self.start.encoding:
                self._set("client_encoding", None, certain=True)
        else:
            for setting in _SETTINGS:
                if setting in text.lower():
                    self._set(setting, None, certain=True)
                    if _LASTING.match(text):
                        self._forget_start(setting)

    def _value_of(self, setting: str, given: str) -> str | None:
        """Return a setting's given value, or for ``default`` the one it starts with."""
        if given.lower() != "default":
            return given
        if setting == "client_encoding":
            return self.start.encoding
        strings = self.start.standard_conforming_strings
        return None if strings is None else ("on" if strings else "off")

    def _set(self, setting: str, given: str | None, *, certain: bool) -> None:
        """Change a setting. Unless ``certain``, it may keep its value."""
        now = self.settings
        if setting == "client_encoding":
            encoding = None if given is None else encoding_family(given)
            if not certain and encoding != now.encoding:
                encoding = None
            self.settings = replace(now, encoding=encoding)
        else:
            strings = None if given is None else parse_boolean(given)
            if not certain and strings != now.standard_conforming_strings:
                strings = None
            self.settings = replace(now, standard_conforming_strings=strings)

    def _forget_start(self, setting: str) -> None:
        """Note that sessions of this and of later steps may begin with another value."""
        if setting == "client_encoding":
            self.start = replace(self.start, encoding=None)
        else:
            self.start = replace(self.start, standard_conforming_strings=None)


def parse_boolean(text: str) -> bool | None:
    """Return the boolean that psql takes a text for, None if it is not one (variables.c)."""
    given = text.lower()
    if given and any(name.startswith(given) for name in ("true", "yes")):
        return True
    if given and any(name.startswith(given) for name in ("false", "no")):
        return False
    return {"on": True, "1": True, "of": False, "off": False, "0": False}.get(given)


def passwd_home() -> str:
    """Return the home directory of the engine's user from the system's user database."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
