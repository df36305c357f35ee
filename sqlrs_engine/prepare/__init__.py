"""Prepares: stages become a chain of cached states, and the last of them an instance.

* ``request``, ``stages``: the request of a client, as submitted
* ``planner``, ``draft``, ``plan``: requests are read and checked, then planned, each stage by the
  planner of its kind; ``step``, ``tasks``: what a plan consists of
* ``psql``, ``liquibase``, ``dump``, ``command``: the kinds of stages
* ``observation``: the files that steps read beyond their plan
* ``build``: makes the states, each of them once
* ``jobs``: jobs, their events and their retention
* ``job_context``: the cancellation and the messages of the job that plans and steps are for
* ``stdin``: the input of psql in JSON
* ``file_reads``: files as they were when they were read
"""
