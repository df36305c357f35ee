"""What a step really reads of the files around it, whether its plan foresaw it or not.

``inotify`` asks the kernel, ``places`` finds the directories to ask about, ``watch`` follows them
while steps run, ``findings`` turns what happened into the inputs that count.

Why inotify: it needs no privilege, costs microseconds, sees every process (psql, the programs that
it starts, the server) and every way of opening a file. It does not tell who opened one, so others'
opens count as well, which makes a state stricter and never wrong. fanotify can tell, but follows
whole trees for root only. ptrace and seccomp's notifications see one tree of processes, not the
server, stop each of its calls for a round trip, and take ``no_new_privs`` or a tracer of their own;
``LD_PRELOAD`` misses static programs, such as those written in Go.
"""
