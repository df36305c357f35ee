"""The HTTP API: an OpenAPI document bound to the engine's services.

``app`` puts the pieces together; a module a tag (``names``, ``instances``, …) holds the
handlers. A request passes, from the outside in::

    activity      counts it, logs it
    errors        turns whatever is raised into the error envelope
    guards        Host, Origin, size and speed of the body
    routing       path and method to operation; 404, 405
    security      bearer token; 401
    validation    parameters, Accept, body
    operations    calls the handler
"""

import warnings

with warnings.catch_warnings():
    # connexion imports what its own dependencies have deprecated (Starlette's test client,
    # jsonschema's RefResolver). Said once here, it need not be said on every user's terminal.
    warnings.simplefilter("ignore")
    import connexion  # noqa: F401
