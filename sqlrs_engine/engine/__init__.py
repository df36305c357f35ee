"""The composition root: builds an engine, serves it, and takes it down again."""
