r"""psql scripts, split into parts by psql's own lexical rules (psql(1); psqlscan.l, mainloop.c).

* ``script``, ``parts``: a script and what it is split into
* ``prescan``: the quick search that spares most scripts the full pass
* ``scanner``: the full pass, which finds the commands and statements that matter
* ``tokens``: what the scanner stops at, and where strings and comments end
* ``settings``: what decides how a script is read, such as the encoding
* ``meta_commands``: names and arguments of the backslash commands
* ``copy_command``: the arguments of ``\copy``
"""
