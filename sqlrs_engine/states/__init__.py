"""States: published, looked up and leased; their ids."""
