"""psql scripts: read as psql reads them, planned as steps, run by the real psql."""
