"""Preparations: scripts become a chain of cached states, the last of them an instance.

* ``request``: what is asked for, and what is refused
* ``planner``, ``plan``: the image and the chain of steps, by the kind's own planner
* ``psql``, ``liquibase``: the two kinds of steps
* ``build``: making the states, each of them once
* ``jobs``: jobs, their events and how long they are kept
* ``job_context``: what plans and steps get of their job
* ``file_reads``: files as they were when they were read
"""
