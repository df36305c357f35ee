"""A Liquibase process for tests, whose part a shell script plays."""

import json
from pathlib import Path
from typing import Any

from sqlrs_engine.prepare.liquibase.session import Session

READY = """printf '\\001{"ready": "4"}\\n'; """


def plan(**fields: Any) -> dict[str, Any]:
    """The answer of Liquibase to ``plan``: an empty changelog, but for ``fields``."""
    return {
        "version": "4",
        "driver": "42",
        "settings": {},
        "preconditions": None,
        "parameters": {},
        "changesets": [],
        "locations": [],
        "files": [],
        "looked": [],
        "listed": [],
        **fields,
    }


def answering(answer: dict[str, Any]) -> str:
    """A script that gives every request the same answer."""
    return f"while read -r line; do printf '\\001%s\\n' '{json.dumps(answer)}'; done"


class Starter:
    """Starts sessions whose Liquibase is a shell script; ``ready`` runs before it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sessions: list[Session] = []

    def __call__(self, script: str, ready: str = READY) -> Session:
        path = {"PATH": "/usr/bin:/bin"}
        session = Session(["/bin/sh", "-c", ready + script], self._directory, path)
        self._sessions.append(session)
        return session

    def close(self) -> None:
        for session in self._sessions:
            session.close()
