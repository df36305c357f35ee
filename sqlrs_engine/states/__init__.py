"""States: publication, look-up, leases and ids."""
