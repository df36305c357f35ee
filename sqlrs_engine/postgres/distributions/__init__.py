"""Distributions: sets of PostgreSQL programs, found, installed and named."""
