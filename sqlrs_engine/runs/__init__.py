"""Runs: psql and pgbench against an instance, their output streamed as it arrives.

* ``runs``: starts runs and knows those in progress
* ``request``: the request of a run, and the checks that refuse it
* ``arguments``, ``program_options``: arguments that name a connection, and how to find them
* ``run``: one run: programs one after another, as events
* ``event_queue``: the events that the client has not read yet
* ``sessions``: the end of a run's database sessions
"""

from .run import Run
from .runs import Runs

__all__ = ["Run", "Runs"]
