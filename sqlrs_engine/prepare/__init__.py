"""Prepares: scripts become a chain of cached states, and the last of them an instance.

* ``request``: the request of a client, as submitted
* ``planner``, ``plan``: drafts and plans, made by the planner of each kind; ``tasks`` of a plan
* ``psql``, ``liquibase``: the two kinds of steps
* ``build``: makes the states, each of them once
* ``jobs``: jobs, their events and their retention
* ``job_context``: the cancellation and the messages of the job that plans and steps are for
* ``file_reads``: files as they were when they were read
"""
