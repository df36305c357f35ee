"""Failures of a server: the kinds of ClusterFailed that callers distinguish.

::

    ClusterFailed
    ├── PortTaken               another program listens on the port
    └── ServerUnusable          the cluster itself may be the reason
        ├── SettingsUnfit       it needs other settings
        └── StateUnusable       it is a clone of a state that started before
"""

import re

from sqlrs_engine.errors import ClusterFailed, Conflict

__all__ = ["PortTaken", "ServerUnusable", "SettingsUnfit", "StateUnusable", "start_failure"]

# PostgreSQL's hint when the content of a cluster, such as a replication slot or a prepared
# transaction, needs other settings than those of the start.
_UNFIT_SETTING = re.compile(r'HINT: +(?:Change|Increase|Set) "?([a-z_]+)"?')


class PortTaken(ClusterFailed):
    """Another program listens on the port: try the next one."""


class ServerUnusable(ClusterFailed):
    """The server does not start, or refuses its superuser; the cluster's content may be why."""


class SettingsUnfit(ServerUnusable):
    """The cluster holds something that needs other settings than those of the start."""

    code = Conflict.code
    status = Conflict.status


class StateUnusable(ServerUnusable):
    """A clone of a state does not start, although one did before.

    ``state_id`` is None for the base state of an image.
    """

    def __init__(self, state_id: str | None, error: ServerUnusable) -> None:
        self.state_id = state_id
        super().__init__(
            "the state no longer starts: prepare it again, which rebuilds what is damaged;"
            " if no other state starts either, check postgres.settings",
            f"{'the base state' if state_id is None else f'state {state_id}'}: {error}",
        )


def start_failure(log: str) -> ClusterFailed:
    """Return the error for a server that ended at once, by the end of its log."""
    if "Address already in use" in log:
        return PortTaken("the port is taken", log)
    unfit = _UNFIT_SETTING.search(log)
    if unfit is not None:
        return SettingsUnfit(
            f"PostgreSQL does not start with its settings: correct {unfit[1]} in "
            "postgres.settings of the configuration",
            log,
        )
    return ServerUnusable("PostgreSQL did not start: its log has the cause", log)
