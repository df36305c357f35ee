r"""psql scripts: read as psql reads them, planned as steps, run by the real psql.

How a script becomes steps:

1. ``options`` parses psql's command line, and ``arguments`` makes a step of each ``-f`` and ``-c``.
2. ``planner`` reads the inputs of all steps in one pass and keeps them as a ``draft``. For each
   input, ``input_digest`` has the script split into parts (package ``lexer``) and followed as psql
   would (package ``interpreter``), through every ``\i``, ``\copy`` and ``\if``.
3. The draft makes a plan for a distribution: each step's digest, options and settings become its
   state id, and the steps form a chain.
4. ``step`` runs psql on a cluster for each state that does not exist yet, through ``runner``.

Where the files come from:

* ``source_files``: what the above asks of the files of a request
* ``local_files``: files on this machine
* ``remote_files``, ``prefetch``: files on a client's machine, and which of them to request
* ``staged_files``: a client's files, staged on this machine for psql
"""
