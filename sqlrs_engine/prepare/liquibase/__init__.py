"""Liquibase: changelogs become chains of steps, one per changeset.

* ``planner``, ``step``: plans of changelogs, and their steps
* ``arguments``: Liquibase's command line, and the part of it that a prepare allows
* ``reader``: reads a changelog by the real Liquibase and applies its changesets
* ``session``, ``session_pool``: a JVM that starts once per job rather than once per changeset,
  and is kept for the next job for a moment
* ``command``: Liquibase's own program, for versions that a session does not support
* ``changelog``, ``changelog_cache``: changelogs as they were read; an unchanged one needs no JVM at
  all
* ``remote_changelog``, ``staged_changelogs``, ``remote_reader``: a client's files
* ``installation``, ``program``: Liquibase and Java on this machine, and how they are started
"""

from .planner import LiquibasePlanner
from .staged_changelogs import StagedChangelogs

__all__ = ["LiquibasePlanner", "StagedChangelogs"]
