"""Commands: programs that migrate the database which their environment names.

* ``planner``: drafts the one step of a command from its stage
* ``step``: the step, and what of it counts in the state's id
* ``patterns``, ``ignored``, ``tree``, ``inputs``: the files whose content counts
* ``program``, ``version``: the program, and what identifies it
* ``environment``: its variables
* ``runner``: the run
"""
