"""What to do about scripts that expect variables of psql, or another cluster than a new one."""

import re

from .role_advice import RESTORE

_COLON = re.compile(
    r'syntax error at or near ":"\s*\n(?P<before>LINE \d+: )(?P<line>.*)\n(?P<caret> *)\^'
)
_VARIABLE = re.compile(r""":(?P<quote>['"]?)(?P<name>\w+)(?P=quote)""")
_PLPGSQL = re.compile(r'(?:extension|language) "plpgsql" already exists')
_EXTENSION = re.compile(r'extension "(?P<name>.*)" already exists')
_OIDS = re.compile(r'syntax error at or near "OIDS"', re.IGNORECASE)
_NEWER = re.compile(r'unrecognized configuration parameter "transaction_timeout"')
_IN_TAR = re.compile(r'could not open file "\$\$PATH\$\$/')
_UNREADABLE = re.compile(r'could not open file "(?P<file>.*)" for (?:reading|writing): Permission')
_NO_DATABASE = re.compile(r'database "(?P<name>.*)" does not exist')
_GRANTOR = re.compile(r'permission denied to grant privileges as role "(?P<role>.*)"')
_BYTES = re.compile(r'invalid byte sequence for encoding "UTF8": (?P<bytes>0x\w\w(?: 0x\w\w)?)')
_UTF_16 = ("0xff", "0xfe")
_ENCODING = re.compile(
    r'encoding "(?P<name>\w+)" does not match locale'
    r"|new encoding \((?P<new>\w+)\) is incompatible"
)

_ARCHIVE = "The input is a PostgreSQL custom-format dump."


def archive_advice(details: str) -> str | None:
    """Return what to do about a script that is no script, which is an error of psql's own."""
    return f"the input is an archive: restore it with {RESTORE}" if _ARCHIVE in details else None


def script_advice(text: str) -> str | None:
    """Return what to do about an error of PostgreSQL, if the script expects what is not there.

    ``text`` is the message with the lines that follow it.
    """
    if (name := _variable(text)) is not None:
        return (
            f"psql has not replaced the variable {name}: set it with -v {name}=VALUE in the "
            "arguments; within '…' and $$…$$ psql replaces no variables"
        )
    if _PLPGSQL.match(text):
        return "every state has plpgsql: leave its CREATE LANGUAGE or CREATE EXTENSION out"
    if found := _EXTENSION.match(text):
        return (
            f"an earlier statement or a script of the image has created {found['name']}: write "
            "CREATE EXTENSION IF NOT EXISTS"
        )
    if _OIDS.match(text):
        return "PostgreSQL 12 removed tables with OIDs: leave WITH OIDS out of the script"
    if _NEWER.match(text):
        return (
            "the script is a dump of pg_dump 17 or newer: prepare with --image postgres:17 or "
            f"newer, or restore it with {RESTORE}"
        )
    if _IN_TAR.match(text):
        return f"the script is part of an archive: restore that with {RESTORE}"
    if found := _UNREADABLE.match(text):
        return (
            f"the server's user may not open {found['file']}: load it with psql's \\copy, which "
            "reads as you"
        )
    if found := _BYTES.match(text):
        if found["bytes"].startswith(_UTF_16):
            return "the script is in UTF-16: convert it (iconv -f UTF-16 -t UTF-8)"
        return (
            "the script is not in UTF-8: begin it with SET client_encoding = 'LATIN1', or "
            "whichever encoding it is in"
        )
    if found := _ENCODING.match(text):
        name = found["name"] or found["new"]
        return (
            f"databases in {name} need TEMPLATE template0 LOCALE 'C' in their CREATE DATABASE: "
            "add that, or leave the encoding out"
        )
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
