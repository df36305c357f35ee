"""A client of the engine's HTTP API, with the engine's proof of identity."""
