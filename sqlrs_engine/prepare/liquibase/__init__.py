"""Liquibase: changelogs become chains of states, each changeset a step.

The real Liquibase reads the changelog and applies each changeset. Its JVM runs once a job
(`session`), not once a changeset; what it found is remembered (`memory`), so that a
changelog which has not changed needs no JVM at all, and kept for a moment in case it soon does
(`sessions`). Its own command line (`command`) is there
for what a session cannot do.
"""

from .planner import LiquibasePlanner, Settings

__all__ = ["LiquibasePlanner", "Settings"]
