import re

import orjson
import pytest

from sqlrs_engine import errors
from sqlrs_engine.errors import EngineError, NotFound


def subclasses(kind: type[EngineError]) -> list[type[EngineError]]:
    return [kind, *(c for child in kind.__subclasses__() for c in subclasses(child))]


# Of this module: fixtures elsewhere may define errors of their own.
CLASSES = [kind for kind in subclasses(EngineError) if kind.__module__ == errors.__name__]


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    drawn = re.findall(r"^[ ├└─│]+(\w+) +(\w+) +(\d{3})$", errors.__doc__ or "", re.MULTILINE)

    assert sorted(drawn) == sorted((c.__name__, c.code, str(c.status)) for c in CLASSES)


def test_every_class_says_what_it_means() -> None:
    assert all(kind.__doc__ for kind in CLASSES)


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in CLASSES]

    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_becomes_an_envelope(kind: type[EngineError]) -> None:
    assert kind("no", "why").as_dict() == {"code": kind.code, "message": "no", "details": "why"}
    assert 400 <= kind.status < 600


def test_details_are_optional() -> None:
    assert NotFound("gone").as_dict() == {"code": "not_found", "message": "gone"}
    assert str(NotFound("gone")) == "gone"
    assert str(NotFound("gone", "x")) == "gone: x"


def test_every_text_becomes_json() -> None:
    # Of a file whose name is not UTF-8, and of JSON that has half of a character.
    envelope = NotFound("no \udcff", "\ud83d").as_dict()
    assert (envelope["message"], envelope["details"]) == ("no \\udcff", "\\ud83d")
    assert orjson.dumps(envelope)
