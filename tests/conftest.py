"""Fixtures shared by every kind of test; fixtures by concern live beside it as ``fix_*``."""
