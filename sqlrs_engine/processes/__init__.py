"""Programs that the engine starts, and processes in general.

* ``program``: a program in its own process group: its output, its end
* ``output``: what a program prints, as lines or as text
* ``cancellation``: the request to end a job or a run
* ``identity``: processes told apart beyond their pid
"""
