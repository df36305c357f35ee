"""psql scripts, split into parts by psql's own lexical rules."""
