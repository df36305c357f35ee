"""Building states, each of them once, however many jobs need it."""
