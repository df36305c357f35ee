"""What psql has been told so far: variables, environment, directory, settings of the session."""

import os
import pwd
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlrs_engine.prepare.psql.lexer.meta_arguments import value
from sqlrs_engine.prepare.psql.lexer.parts import Statement
from sqlrs_engine.prepare.psql.lexer.scanner import means_more
from sqlrs_engine.prepare.psql.lexer.settings import UTF8, ReadingMode, encoding_named, truth

# psql sets variables of its own, and their names are like these (psql(1), "Variables").
_OWN_NAME = re.compile(r"[A-Z][A-Z0-9_]*\Z")
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
_UNDOES = re.compile(r"\s*(?:rollback|abort)\b", re.IGNORECASE)
_LASTS = re.compile(r"\s*(?:alter|create|do)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Start:
    """How a session begins: settings that the server has, by earlier steps perhaps.

    ``written`` are the files that earlier steps write, ``programs`` the texts of programs
    that may have written others.
    """

    strings: bool | None = True
    encoding: str | None = UTF8
    written: frozenset[str] = frozenset()
    programs: tuple[str, ...] = ()

    @classmethod
    def of(cls, settings: Mapping[str, object]) -> "Start":
        """Return what the server's settings make of it."""
        given = {name.lower(): str(each) for name, each in settings.items()}
        strings = truth(given.get("standard_conforming_strings", "on"))
        return cls(strings, encoding_named(given.get("client_encoding", UTF8)))


@dataclass(slots=True)
class SessionState:
    """The state of one psql, as far as it decides which files are read.

    ``home`` is ``$HOME``, empty when that is unset, None when it is not known. ``directory``
    is None when there is none that means anything.
    """

    start: Start
    directory: Path | None
    home: str | None
    mode: ReadingMode = field(init=False)
    directory_known: bool = True
    known: dict[str, str] = field(default_factory=dict)
    _gone: set[str] = field(default_factory=set)  # variables of which nothing is known
    _anything_set: bool = False

    def __post_init__(self) -> None:
        self.mode = ReadingMode(strings=self.start.strings, encoding=self.start.encoding)

    # -- variables --

    def assign(self, name: str, text: str | None, *, sure: bool = True) -> None:
        """Follow an assignment; ``text`` None is a value that only psql knows.

        Unless it is ``sure``, it may not happen.
        """
        if name in ("ON_ERROR_STOP", "SINGLELINE"):
            self._set_special(name, "on" if text == "" else text, sure=sure)
        if sure and text is not None:
            self.known[name] = text
            self._gone.discard(name)
        else:
            self.known.pop(name, None)
            self._gone.add(name)
        self._look_at_texts()

    def remove(self, name: str, *, sure: bool = True) -> None:
        r"""Follow an ``\unset``."""
        if name in ("ON_ERROR_STOP", "SINGLELINE"):
            self._set_special(name, "off", sure=sure)
        self.known.pop(name, None)
        if sure:
            self._gone.discard(name)
        else:
            self._gone.add(name)
        self._look_at_texts()

    def forget_variables(self) -> None:
        """Forget all variables: any of them may have been set."""
        self.known.clear()
        self._anything_set = True
        self._look_at_texts()

    def value(self, word: str, *, semicolon: bool = True) -> str | None:
        """Return what an argument stands for, None when only psql knows."""
        return value(word, self.known, exists=self.exists, semicolon=semicolon)

    def exists(self, name: str) -> bool | None:
        """Return whether there is a variable, None when only psql knows."""
        if name in self.known:
            return True
        if self._anything_set or name in self._gone or _OWN_NAME.match(name):
            return None
        return False

    def condition(self, words: Iterable[str]) -> bool | None:
        r"""Return what the expression of an ``\if`` comes to, None when only psql knows."""
        values = [self.value(word) for word in words]
        if None in values:
            return None
        return truth(" ".join(each for each in values if each is not None)) is True

    def _set_special(self, name: str, text: str | None, *, sure: bool) -> None:
        given = truth(text) if text is not None else None
        if text is not None and given is None:
            return  # psql refuses it
        if name == "ON_ERROR_STOP":
            if not sure and given != self.mode.stops:
                given = None
            self.mode = replace(self.mode, stops=given)
        elif sure and given is not None:
            self.mode = replace(self.mode, singleline=given)

    def _look_at_texts(self) -> None:
        texts = tuple(sorted(each for each in self.known.items() if means_more(each[1])))
        if texts != self.mode.texts:
            self.mode = replace(self.mode, texts=texts)

    # -- directories --

    def home_directory(self) -> str | None:
        """Return what ``~`` means, None when that is not known."""
        return self.home or (None if self.home is None else passwd_home())

    def expand_tilde(self, name: str) -> str | None:
        """Expand a leading ``~`` as psql does; None when only psql knows what it means."""
        if not name.startswith("~"):
            return name
        user, slash, rest = name[1:].partition("/")
        if not user:
            home = self.home_directory()
            return None if home is None else f"{home}{slash}{rest}"
        try:
            return f"{pwd.getpwnam(user).pw_dir}{slash}{rest}"
        except (KeyError, ValueError):  # nobody, or nothing that could be a name
            return name

    # -- settings of the session --

    def begin_session(self, *, sure: bool) -> None:
        r"""Follow a ``\connect``: settings begin anew."""
        for setting in _SETTINGS:
            self._set(setting, self._default(setting, "default"), sure=sure)

    def encoding(self, name: str | None, *, sure: bool) -> None:
        r"""Follow an ``\encoding``."""
        self._set("client_encoding", name, sure=sure)

    def statement(self, statement: Statement) -> None:
        """Follow a statement that may change the session's settings."""
        text = statement.text
        sure = self.mode.certain
        if match := _SET.match(text):
            setting = (match["name"] or "client_encoding").lower()
            given = (match["value"] or "default").strip("'")
            self._set(setting, self._default(setting, given), sure=sure)
        elif match := _RESET.match(text):
            for setting in _SETTINGS:
                if (match["name"] or "all").lower() in ("all", setting):
                    self._set(setting, self._default(setting, "default"), sure=sure)
        elif _UNDOES.match(text):
            if self.mode.strings != self.start.strings:
                self._set("standard_conforming_strings", None, sure=True)
            if self.mode.encoding != self.start.encoding:
                self._set("client_encoding", None, sure=True)
        else:
            for setting in _SETTINGS:
                if setting in text.lower():
                    self._set(setting, None, sure=True)
                    if _LASTS.match(text):
                        self._never_known(setting)

    def _default(self, setting: str, given: str) -> str | None:
        if given.lower() != "default":
            return given
        if setting == "client_encoding":
            return self.start.encoding
        return None if self.start.strings is None else ("on" if self.start.strings else "off")

    def _set(self, setting: str, given: str | None, *, sure: bool) -> None:
        """Follow a setting; unless it is sure, it may not have been set."""
        encoding, strings = self.mode.encoding, self.mode.strings
        if setting == "client_encoding":
            encoding = None if given is None else encoding_named(given)
            if not sure and encoding != self.mode.encoding:
                encoding = None
        else:
            strings = None if given is None else truth(given)
            if not sure and strings != self.mode.strings:
                strings = None
        self.mode = replace(self.mode, encoding=encoding, strings=strings)

    def _never_known(self, setting: str) -> None:
        """Note that sessions of this and of later steps may begin with another value."""
        if setting == "client_encoding":
            self.start = replace(self.start, encoding=None)
        else:
            self.start = replace(self.start, strings=None)


def passwd_home() -> str:
    """Return the home of the engine's user by the system's list of users."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_dir
    except KeyError:
        return "/"
