"""Programs that the engine starts, and processes in general.

* ``program``: a program in its own process group: its output, its end
* ``output``: the output of a program, as lines or as text
* ``cancellation``: the request to end a job or a run
* ``identity``: the identity of processes beyond their pid
"""
