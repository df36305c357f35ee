"""The shape of a project file: its JSON schema, and each violation as one helpful line."""

import difflib
import functools
import json
import shlex
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlrs_engine.json_schemas import explain, match_whole, shortened, unknown_fields

from .problems import Keys, Problem

if TYPE_CHECKING:
    from jsonschema import ValidationError

Json = dict[str, Any]

SCHEMA_NAME = "sqlrs.schema.json"
_TYPES = {
    "object": "a table",
    "array": "a list",
    "string": "a string",
    "boolean": "true or false",
}


def schema_text() -> str:
    """Return the schema as it is published: the packaged copy or, in a checkout, its source."""
    packaged = resources.files(__package__).joinpath(SCHEMA_NAME)
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    checkout = Path(__file__).parents[2] / "docs" / SCHEMA_NAME
    return checkout.read_text(encoding="utf-8")


def shape_problems(content: Json) -> list[Problem]:
    """Return what the schema does not allow, in the order of the file."""
    errors = _validator().iter_errors(content)
    problems = [problem for error in errors for problem in _explained(error)]
    return sorted(problems, key=lambda problem: _position(content, problem.keys))


def nearest(word: str, known: Sequence[str]) -> str:
    """Return a question about the known word that is most alike, or else a list of them."""
    near = difflib.get_close_matches(word, known, 1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"


@functools.cache
def _schema() -> Json:
    schema: Json = json.loads(schema_text())
    return schema


@functools.cache
def _validator() -> Any:
    from jsonschema import Draft7Validator
    from jsonschema.validators import extend

    return extend(Draft7Validator, {"pattern": match_whole})(_schema())  # type: ignore[no-untyped-call]


def _explained(error: "ValidationError", alternative: str = "") -> Iterator[Problem]:
    """Yield the problems behind an error; ``alternative`` is the kind of the stage, if any."""
    keys: Keys = tuple(error.absolute_path)
    match error.validator:
        case "additionalProperties":
            known = tuple(_schema_of(error)["properties"])
            for name in unknown_fields(error):
                yield _unknown((*keys, name), known, alternative)
        case "oneOf":
            yield from _not_one(error, keys)
        case "type":
            yield Problem(keys, _wrong_type(error, keys))
        case _ if "propertyNames" in error.absolute_schema_path:
            yield Problem((*keys, str(error.instance)), _schema_of(error)["x-reason"])
        case "pattern":
            yield Problem(keys, _schema_of(error)["x-reason"])
        case "required":
            yield Problem(keys, _missing(error))
        case _:
            yield Problem(keys, explain(error, "").strip(": "))


def _not_one(error: "ValidationError", keys: Keys) -> Iterator[Problem]:
    """Explain why a table fits none of its alternatives, each of which requires a key of its own.

    The alternatives of a stage have further keys; those of a database have none.
    """
    table: Any = error.instance
    if not isinstance(table, dict):
        return  # its type is an error of its own
    choices: Any = error.validator_value
    branches = [_resolved(each) for each in choices]
    own = [branch["required"][0] for branch in branches]
    given = [key for key in own if key in table]
    shared: Json = _schema_of(error).get("properties", {})
    if len(given) == 1:
        for each in error.context or ():
            if each.schema_path[0] == own.index(given[0]):
                yield from _explained(each, given[0])
    elif given:
        advice = "keep one of them" if shared else "make a stage of each"
        yield Problem(keys, f"has {' and '.join(given)}: {advice}")
    else:
        known = shared or {key: 0 for branch in branches for key in branch["properties"]}
        unknown = [key for key in table if key not in known]
        if not shared:
            yield from (_unknown((*keys, key), tuple(known)) for key in unknown)
        if not any(difflib.get_close_matches(key, own, 1) for key in unknown):
            yield Problem(keys, f"needs one of {', '.join(own)}")


def _unknown(keys: Keys, known: Sequence[str], alternative: str = "") -> Problem:
    subject = f"unknown key of a {alternative} stage" if alternative else "unknown key"
    return Problem(keys, f"{subject}; {nearest(str(keys[-1]), known)}")


def _missing(error: "ValidationError") -> str:
    names: Any = error.validator_value
    table: Any = error.instance
    name = next(each for each in names if each not in table)
    example = _example(_schema_of(error)["properties"].get(name, {}))
    return f"lacks {name}{example and f', such as {name} = {example}'}"


def _wrong_type(error: "ValidationError", keys: Keys) -> str:
    wanted: Any = error.validator_value
    reason = f"must be {_TYPES[wanted]}"
    value = error.instance
    if wanted == "array" and isinstance(value, str):
        return f"{reason}: {shortened(json.dumps(_words(value), ensure_ascii=False))}"
    if wanted == "array" and isinstance(value, dict):
        return f"{reason}: write [[{'.'.join(map(str, keys))}]]"
    if wanted == "object" and isinstance(value, list):
        return f"{reason}: write [{'.'.join(map(str, keys))}]"
    example = _example(_schema_of(error))
    return f"{reason}{example and f', such as {example}'}"


def _example(schema: Any) -> str:
    """Return the schema's own example as TOML, which is JSON here; empty if it has none."""
    examples = schema.get("examples")
    return json.dumps(examples[0]) if examples else ""


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError:
        return [text]


def _schema_of(error: "ValidationError") -> Json:
    schema: Any = error.schema
    return schema  # type: ignore[no-any-return]


def _resolved(schema: Json) -> Json:
    reference = schema.get("$ref")
    if reference is None:
        return schema
    definition: Json = _schema()["definitions"][reference.rpartition("/")[2]]
    return definition


def _position(content: Any, keys: Keys) -> list[int]:
    """Return where a place is in the file, as numbers that sort."""
    position = []
    for key in keys:
        if isinstance(content, dict) and key in content:
            position.append(list(content).index(key))
            content = content[key]
        elif isinstance(key, int) and isinstance(content, list):
            position.append(key)
            content = content[key]
    return position
