"""Loads the fixture plugins, one by concern, that stand beside this file."""

pytest_plugins = ["fix_mounts", "fix_postgres", "fix_engine"]
