r"""The interpreter of psql scripts: finds out what psql would do, without running it.

* ``interpreter``: follows a script and its includes, and adds up their digest
* ``conditional_stack``: which ``\if`` branches are taken
* ``session``: variables, working directory, encoding and other settings at a point
* ``session_commands``: the commands that change those
* ``file_commands``: the commands that read and write files
* ``written_files``: the files that the script itself writes
* ``findings``: what was read, and why only psql may know the rest
* ``content_digest``: the digest of a sequence of records

Where only psql can know, a value is None and the findings hold a doubt.
"""
