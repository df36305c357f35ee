"""Prepare jobs: submitted, run in the background, cancelled, resumed, deleted."""
