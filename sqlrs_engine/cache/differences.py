"""The differences between the recipes of two steps, in terms of their inputs.

A recipe is JSON, as ``prepare`` makes it: ``source`` (file, command, stdin, changeset, dump, …) and
``summary`` say what the step runs, ``files`` with their digests and ``text`` say what that consists
of, ``options``, ``directory`` and ``settings`` how it is run. The first step of a chain has the
recipe of its base state as ``base``. Dumps also have the ``tool`` that restores them and whether it
may ``create_roles``, programs their ``argv`` and what identifies the ``program``.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from sqlrs_engine.store.records import Json

Kind = Literal[
    "image",
    "file",
    "command",
    "stdin",
    "changeset",
    "variable",
    "argument",
    "setting",
    "tool",
    "volatile",
]

_VARIABLE = "v"
# The names of texts, by their origin.
_TEXTS: dict[str, Kind] = {"stdin": "stdin", "changeset": "changeset"}


@dataclass(frozen=True, slots=True)
class Change:
    """An input that differs: the path of a file or the name of a variable."""

    kind: Kind
    name: str


def differences(now: Json, before: Json) -> list[Change]:
    """Return the differences between a step and an earlier one; empty if there are none."""
    return [
        *_volatile(now),
        *_inputs(now, before),
        *_variables(now, before),
        *_arguments(now, before),
        *_restores(now, before),
        *_program(now, before),
        *_settings(now, before),
        *_bases(now, before),
    ]


def _volatile(now: Json) -> Iterator[Change]:
    if now.get("volatile"):
        yield Change("volatile", now["volatile"])


def _inputs(now: Json, before: Json) -> Iterator[Change]:
    if now.get("input") == before.get("input") and now.get("content") == before.get("content"):
        return
    if now.get("source") != before.get("source"):
        yield Change("argument", now.get("summary", ""))
        return
    by_path = now.get("source") == "program"
    changed = list(_files_by_path(now, before) if by_path else _files(now, before))
    if now.get("text") != before.get("text"):
        yield Change(_TEXTS.get(now.get("source", ""), "command"), now.get("summary", ""))
    elif not changed:
        # The files are combined differently.
        yield Change("argument", now.get("summary", ""))
    yield from changed


def _files(now: Json, before: Json) -> Iterator[Change]:
    """Compare files by path; those that moved by content, then by name."""
    ours, theirs = _digests(now), _digests(before)
    for path in [path for path in ours if path in theirs]:
        if ours.pop(path) != theirs.pop(path):
            yield Change("file", path)
    moved = Counter(theirs.values())
    for path, digest in list(ours.items()):
        if moved[digest]:
            moved[digest] -= 1
            del ours[path]
            del theirs[next(each for each, same in theirs.items() if same == digest)]
    names = {PurePath(path).name for path in ours}
    for path in ours:
        yield Change("file", path)
    for path in theirs:
        if PurePath(path).name not in names:
            yield Change("file", path)


def _files_by_path(now: Json, before: Json) -> Iterator[Change]:
    """Compare files whose paths count."""
    ours, theirs = _digests(now), _digests(before)
    for path in sorted(ours.keys() | theirs.keys()):
        if ours.get(path) != theirs.get(path):
            yield Change("file", path)


def _digests(recipe: Json) -> dict[str, str]:
    return {file["path"]: file["digest"] for file in recipe.get("files", ())}


def _variables(now: Json, before: Json) -> Iterator[Change]:
    ours, theirs = _assigned(now), _assigned(before)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield Change("variable", name)


def _assigned(recipe: Json) -> dict[str, str]:
    """Return the variables set on the command line; a name without ``=`` is unset."""
    given = (value or "" for letter, value in recipe.get("options", ()) if letter == _VARIABLE)
    return {text.partition("=")[0]: text for text in given}


def _arguments(now: Json, before: Json) -> Iterator[Change]:
    """Compare the other options, else the order of all of them, and the working directory."""
    ours, theirs = _flags(now), _flags(before)
    changed = dict.fromkeys([*(ours - theirs), *(theirs - ours)])
    for flag in changed:
        yield Change("argument", flag)
    same = Counter(map(tuple, now.get("options", ()))) == Counter(
        map(tuple, before.get("options", ()))
    )
    if same and list(now.get("options", ())) != list(before.get("options", ())):
        yield Change("argument", "order of the options")
    if now.get("directory") != before.get("directory"):
        yield Change("argument", "work_dir")


def _restores(now: Json, before: Json) -> Iterator[Change]:
    """Compare how dumps are restored."""
    if now.get("tool") != before.get("tool"):
        yield Change("tool", now.get("tool", ""))
    if now.get("create_roles") != before.get("create_roles"):
        yield Change("argument", "create_roles")


def _flags(recipe: Json) -> Counter[str]:
    return Counter(
        _flag(letter, value) for letter, value in recipe.get("options", ()) if letter != _VARIABLE
    )


def _flag(letter: str, value: str | None) -> str:
    flag = letter if letter.startswith("-") else f"-{letter}" if len(letter) == 1 else f"--{letter}"
    return flag if value is None else f"{flag} {value}"


def _program(now: Json, before: Json) -> Iterator[Change]:
    """Compare the words of command lines, else their order, and the programs."""
    if "argv" not in now or "argv" not in before:
        return
    ours, theirs = now["argv"], before["argv"]
    words: Counter[str] = Counter(ours)
    others: Counter[str] = Counter(theirs)
    for word in dict.fromkeys([*(words - others), *(others - words)]):
        yield Change("argument", word)
    if words == others and ours != theirs:
        yield Change("argument", "order of the arguments")
    # Another program of the same name.
    if ours[0] == theirs[0] and now["program"] != before["program"]:
        yield Change("tool", ours[0])


def _settings(now: Json, before: Json) -> Iterator[Change]:
    ours, theirs = now.get("settings", {}), before.get("settings", {})
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield Change("setting", name)


def _bases(now: Json, before: Json) -> Iterator[Change]:
    """Compare base states, by the settings that they follow."""
    if "base" not in now:
        return
    ours, theirs = now["base"], before.get("base")
    if theirs is None:
        yield Change("image", "the base state of an earlier version of the engine")
        return
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            yield Change("setting", f"postgres.{name}")
