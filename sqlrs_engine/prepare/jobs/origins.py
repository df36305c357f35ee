"""What requests start from: an image, or an existing state."""

from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.registry import Registry
from sqlrs_engine.states.states import States
from sqlrs_engine.store.records import State


class Origins:
    """Finds the states that requests start from; safe to use from any thread."""

    def __init__(self, states: States, registry: Registry) -> None:
        self._states = states
        self._registry = registry

    def find(self, request: PrepareRequest) -> State | None:
        """Return the state that a request starts from, None if that is an image.

        The state of a name is the one that its instance was made of, not what the instance holds
        now. Raises NotFound.
        """
        origin = request.origin
        if origin is None:
            return None
        state_id = origin.state_id or self._registry.name(origin.name or "").state_id
        return self._states.require(state_id)

    def image(self, request: PrepareRequest) -> str:
        """Return the image of a request. Raises NotFound."""
        state = self.find(request)
        return state.image_id if state is not None else request.image_id or ""
