"""The HTTP API: an OpenAPI document bound to the engine's services.

``app`` puts the parts together; ``handlers`` has one module per tag of the document. A request
passes, from the outside in::

    activity                 counts and logs it
    connexion: lifespan
    connexion: exceptions    with ``errors.answer``, which returns the error envelope
    guards                   Host, Origin, and the size and speed of the body
    routing                  from path and method to the operation; 404, 405
    connexion: security      with ``security.BearerHandler``; 401
    connexion_app            reads the arguments (``request_validation``), calls the handler
"""

import warnings

with warnings.catch_warnings():
    # connexion imports what its dependencies have deprecated (Starlette's test client,
    # jsonschema's RefResolver). Users of the engine cannot do anything about these warnings.
    warnings.simplefilter("ignore")
    import connexion  # noqa: F401
