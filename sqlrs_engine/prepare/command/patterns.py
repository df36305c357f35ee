"""Patterns of input files, relative to a directory: ``**``, ``*``, ``?``, ``[…]``, and ``!``.

A component ``**`` stands for any number of directories, none included. The other wildcards stay
within a component, and match names with a leading dot, too. A name without wildcards, or a pattern
that ends with ``/``, also means everything below the directories of this name. A pattern that
begins with ``!`` leaves out what it matches.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sqlrs_engine.errors import InvalidArgument

from .text import check_text

_WILDCARDS = frozenset("*?[")
_ANY_DIRECTORIES = "**"
_OF_THIS_DIRECTORY = "write patterns of files below work_dir, such as migrations/**"


@dataclass(frozen=True, slots=True)
class Name:
    """A component that is a name."""

    named: ClassVar[bool] = True
    text: str

    def matches(self, name: str) -> bool:
        """Return whether a file of this name matches."""
        return name == self.text


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A component with wildcards; ``pattern`` matches whole names."""

    named: ClassVar[bool] = False
    pattern: re.Pattern[str]

    def matches(self, name: str) -> bool:
        """Return whether a file of this name matches."""
        return self.pattern.match(name) is not None


@dataclass(frozen=True, slots=True)
class Directories:
    """The component ``**``."""

    named: ClassVar[bool] = False


Component = Name | Wildcard | Directories

_ANY_NAME = Wildcard(re.compile(r"(?s:.*)\Z"))


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A way in which a pattern matches files: all components in order."""

    pattern: "Pattern"
    components: tuple[Component, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pattern:
    """A pattern as it was written; ``excludes`` is whether it leaves files out."""

    text: str
    excludes: bool

    @classmethod
    def parse(cls, text: str) -> tuple["Pattern", tuple[Route, ...]]:
        """Read a pattern, and return it with its routes. Raises InvalidArgument."""
        excludes = text.startswith("!")
        path = text.removeprefix("!")
        if not path:
            raise InvalidArgument("an input pattern is empty: correct it or remove it", repr(text))
        check_text(text)
        if path.startswith("/"):
            raise InvalidArgument(f"an input pattern is absolute: {_OF_THIS_DIRECTORY}", text)
        names = [name for name in path.split("/") if name not in ("", ".")]
        if ".." in names:
            raise InvalidArgument(f"an input pattern leaves work_dir: {_OF_THIS_DIRECTORY}", text)
        components = [_component(name, text) for name in names]
        pattern = cls(text, excludes)
        below = [*components, Directories(), _ANY_NAME]
        if path.endswith(("/", "/.")) or not components:
            routes = [below]
        elif components[-1].named:
            routes = [components, below]
        elif isinstance(components[-1], Directories):
            routes = [[*components, _ANY_NAME]]
        else:
            routes = [components]
        return pattern, tuple(Route(pattern, tuple(route)) for route in routes)


def _component(name: str, pattern: str) -> Component:
    if name == _ANY_DIRECTORIES:
        return Directories()
    if _ANY_DIRECTORIES in name:
        raise InvalidArgument(
            "** is a whole component of an input pattern: write **/ before the rest", pattern
        )
    if _WILDCARDS.isdisjoint(name):
        return Name(name)
    return Wildcard(re.compile(fnmatch.translate(name)))


@dataclass(frozen=True, slots=True)
class Place:
    """How far a path has come along a route, and whether the last step was by name."""

    route: Route
    position: int
    named: bool

    @property
    def complete(self) -> bool:
        """Whether a file that has come here matches."""
        return self.position == len(self.route.components)


class Places:
    """All the places that a directory has come to along the routes of some patterns."""

    __slots__ = ("_places",)

    def __init__(self, places: Iterable[Place]) -> None:
        found: dict[tuple[Route, int], Place] = {}
        for place in places:
            for reached in _with_skipped(place):
                key = (reached.route, reached.position)
                if key not in found or reached.named:
                    found[key] = reached
        self._places = [place for place in found.values() if not place.complete]

    @classmethod
    def start(cls, texts: Sequence[str]) -> tuple[list[Pattern], "Places"]:
        """Read patterns; return them with the places of the directory they are relative to."""
        parsed = [Pattern.parse(text) for text in texts]
        places = cls(Place(route, 0, True) for _, routes in parsed for route in routes)
        return [pattern for pattern, _ in parsed], places

    def __bool__(self) -> bool:
        return any(not place.route.pattern.excludes for place in self._places)

    @property
    def names(self) -> set[str] | None:
        """The only names that can follow; None if there are others."""
        names: set[str] = set()
        for place in self._places:
            component = place.route.components[place.position]
            if isinstance(component, Name):
                names.add(component.text)
            elif not place.route.pattern.excludes:
                return None
        return names

    @property
    def named(self) -> "Places":
        """Those that have come here by name."""
        return Places(place for place in self._places if place.named)

    def enter(self, name: str) -> list[Place]:
        """Return the places that a file or directory of this name comes to."""
        reached: list[Place] = []
        for place in self._places:
            component = place.route.components[place.position]
            if isinstance(component, Directories):
                reached.append(Place(place.route, place.position, False))
            elif component.matches(name):
                reached.append(Place(place.route, place.position + 1, component.named))
        return reached


def _with_skipped(place: Place) -> Iterator[Place]:
    """Yield a place, and those after ``**``, which may stand for no directory."""
    components, position = place.route.components, place.position
    yield place
    while position < len(components) and isinstance(components[position], Directories):
        position += 1
        yield Place(place.route, position, place.named)
