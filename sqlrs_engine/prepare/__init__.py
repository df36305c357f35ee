"""Preparations: scripts become a chain of cached states, the last of them an instance.

* ``request``: what a client wants, as submitted
* ``planner``, ``plan``: drafts and plans, by the kind's own planner; ``tasks`` of a plan
* ``psql``, ``liquibase``: the two kinds of steps
* ``build``: making the states, each of them once
* ``jobs``: jobs, their events and how long they are kept
* ``job_context``: what plans and steps get of their job
* ``file_reads``: files as they were when they were read
"""
