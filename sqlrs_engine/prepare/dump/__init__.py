"""Dumps: the output of pg_dump and pg_dumpall, recognised by its content and restored as a step.

* ``files``: the format of a dump, and what is wrong with it; ``archive`` reads tables of contents,
  ``content`` decompresses
* ``options``: the options of pg_restore that a request may have
* ``planner``, ``draft``: the plan; ``digests`` identifies the dump, ``tools`` finds the program,
  ``memory`` keeps what was found out
* ``step``: the restore, in one of three ways: ``archive_restore`` (pg_restore in ``parts``, read by
  ``restore_output``), ``script_restore`` (psql, of plain dumps, and of archives for servers older
  than their pg_restore); ``loading`` are settings of the server, ``progress`` reports the restore,
  ``advice`` explains failures
* ``roles``: the roles that a dump needs; ``script`` edits plain dumps on their way to psql
"""

from .memory import Memory
from .planner import DumpPlanner, KeptDumps

__all__ = ["DumpPlanner", "KeptDumps", "Memory"]
