"""Liquibase: changelogs become chains of states, each changeset a step.

A `reader` has the real Liquibase read the changelog and apply each changeset. Its JVM runs once
a job (`session`), not once a changeset, and is kept for a moment (`sessions`); what it found is
remembered (`memory`), so that a changelog which has not changed needs no JVM at all. Its own
command line (`command`) is there for what a session cannot do.
"""

from .planner import LiquibasePlanner
from .remote_changelog import Workspaces

__all__ = ["LiquibasePlanner", "Workspaces"]
