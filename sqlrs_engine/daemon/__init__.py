"""The parts of the engine's process: HTTP server, store lock, ``engine.json``, listener, log."""
