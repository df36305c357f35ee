"""The engine as a process: its HTTP server, lock, ``engine.json``, listener and log."""
