"""What psql would do with a script, found out without running it."""
