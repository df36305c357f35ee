"""Liquibase: changelogs become chains of states, each changeset a step.

The real Liquibase reads the changelog and applies each changeset. Its JVM runs once a job
(`session`), not once a changeset; what it found is remembered (`memory`), so that a
changelog which has not changed needs no JVM at all.
"""

from .planner import LiquibasePlanner

__all__ = ["LiquibasePlanner"]
