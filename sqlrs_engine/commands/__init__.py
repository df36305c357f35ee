"""The commands for people: one module per command, with ``add_parser`` and ``run``.

``run(args, terminal)`` returns the exit code; failures are raised as EngineError and
turned into one line on standard error by the command line.
"""

SUCCESS = 0
FAILURE = 1
USAGE = 2
NO_ENGINE = 3
BLOCKED = 4
INTERRUPTED = 130
