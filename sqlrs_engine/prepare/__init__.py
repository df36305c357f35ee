"""Preparations: scripts become a chain of cached states, the last of them an instance.

* ``request``, ``options``, ``arguments``: what is asked for, and what is refused
* ``script``, ``words``, ``files``, ``content``: what a script amounts to, includes and all
* ``identity``, ``plan``, ``planner``: the states it makes, named by all that can change them
* ``psql_plan``, ``liquibase``: the two kinds of steps
* ``psql``, ``builder``, ``states``, ``flights``: making the states, each of them once
* ``job``, ``control``, ``events``, ``retention``, ``service``: jobs and their events
"""

from .builder import Builder
from .events import EventLog
from .flights import Flights
from .job import Tools
from .planner import Planner
from .request import PrepareRequest
from .service import PrepareService
from .states import States

__all__ = [
    "Builder",
    "EventLog",
    "Flights",
    "Planner",
    "PrepareRequest",
    "PrepareService",
    "States",
    "Tools",
]
