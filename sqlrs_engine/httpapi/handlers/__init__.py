"""Handlers of the API's operations: one module per tag of the document."""
