"""A client of the engine's HTTP API that checks the engine's identity before it sends anything."""
