"""What to do about scripts that expect variables of psql, or another cluster than a new one."""

import re

_COLON = re.compile(
    r'syntax error at or near ":"\s*\n(?P<before>LINE \d+: )(?P<line>.*)\n(?P<caret> *)\^'
)
_VARIABLE = re.compile(r""":(?P<quote>['"]?)(?P<name>\w+)(?P=quote)""")
_PLPGSQL = re.compile(r'(?:extension|language) "plpgsql" already exists')
_NO_DATABASE = re.compile(r'database "(?P<name>.*)" does not exist')
_GRANTOR = re.compile(r'permission denied to grant privileges as role "(?P<role>.*)"')


def script_advice(text: str) -> str | None:
    """Return what to do about an error of PostgreSQL, if the script expects what is not there.

    ``text`` is the message with the lines that follow it.
    """
    if (name := _variable(text)) is not None:
        return f"the variable {name} of psql is not set: add -v {name}=VALUE to the arguments"
    if _PLPGSQL.match(text):
        return "every state has plpgsql: leave its CREATE LANGUAGE or CREATE EXTENSION out"
    if found := _NO_DATABASE.match(text):
        return (
            f"a new state has the databases postgres and template1 only: create {found['name']} "
            "before (pg_dump --create), and drop databases with IF EXISTS (pg_dumpall --clean "
            "--if-exists)"
        )
    if found := _GRANTOR.match(text):
        role = found["role"]
        return (
            "in every state the first superuser is postgres, and only that one grants as itself "
            f"without being asked to: take GRANTED BY {role} out of the script "
            f"(sed 's/ GRANTED BY {role};/;/')"
        )
    return None


def _variable(text: str) -> str | None:
    """Return the name of the variable that psql has left as it is."""
    error = _COLON.match(text)
    if error is None:
        return None
    found = _VARIABLE.match(error["line"], len(error["caret"]) - len(error["before"]))
    return found and found["name"]
