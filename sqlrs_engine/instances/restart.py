"""Restarts the servers of instances, on the ports that their clients know."""

import logging
from contextlib import suppress
from dataclasses import replace

from sqlrs_engine.errors import Conflict, NotFound, StorageFull, StoreDamaged
from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.errors import PortTaken, ServerUnusable, SettingsUnfit
from sqlrs_engine.store.records import Instance

from .provisioner import Provisioner, Started, new_password
from .services import OnLog, Services, discard_line
from .supervisor import Supervisor

_PORT_ATTEMPTS = 5

_ADVICE = "reset it to the content of its state, or delete it"

_log = logging.getLogger(__name__)


class Restart:
    """Starts servers that are down, and adopts those that run."""

    def __init__(
        self, services: Services, provisioner: Provisioner, supervisor: Supervisor
    ) -> None:
        """``supervisor`` watches every server that this starts or adopts."""
        self._services = services
        self._provisioner = provisioner
        self._supervisor = supervisor

    def ensure_running(self, instance_id: str, on_log: OnLog = discard_line) -> Instance:
        """Return an instance, restarted on its port if its server was down.

        An instance whose port another program has taken gets another port and another password.
        Raises NotFound, Conflict when its files are gone, StoreDamaged when they are damaged,
        ImageUnavailable, NoPortLeft, ClusterFailed.
        """
        with self._services.locks.hold(instance_id):
            instance = self._services.instance(instance_id)
            container = self._services.files.instance_dir(instance_id)
            if not container.is_dir():
                raise Conflict("the instance's files are missing: delete it", instance_id)
            server = self._services.servers.server(instance.image_id, container)
            postmaster = server.postmaster()
            if postmaster is None:
                if not self._services.files.is_whole(container):
                    raise StoreDamaged(f"the instance's files are damaged: {_ADVICE}", instance_id)
                on_log(f"instance {instance_id} is down: starting it on port {instance.port}")
            elif postmaster.runtime_id == instance.runtime_id and not postmaster.stopping:
                self._supervisor.watch(instance)
                return instance
            else:
                instance = self._on_port(instance, postmaster.port)
            # A server that the row does not know was started just before a crash and may lack
            # a password, so it gets one like a server that starts now.
            try:
                return self.restart(instance, server, on_log)
            except SettingsUnfit:
                raise
            except ServerUnusable as error:
                raise ServerUnusable(
                    f"the instance's server does not start: {_ADVICE}", f"{instance_id}: {error}"
                ) from error

    def restart(
        self, instance: Instance, server: Cluster, on_log: OnLog = discard_line
    ) -> Instance:
        """Start an instance's server on its port, or adopt the server that runs there.

        Sets the password in either case. An instance whose port another program has taken moves
        to another one. The caller holds the instance's lock. Raises NoPortLeft, ClusterFailed.
        """
        for attempts_left in reversed(range(_PORT_ATTEMPTS)):
            try:
                started = self._started(instance, server)
                break
            except PortTaken:
                if not attempts_left:
                    raise
                instance = self._moved(instance, server, on_log)
        self._supervisor.watch(replace(instance, runtime_id=started.runtime_id))
        renewed: Instance | None = instance
        # On a full disk the row stays as it is: the next use adopts the server again.
        with suppress(StorageFull):
            renewed = self._services.expiry.renew(
                instance.instance_id, runtime_id=started.runtime_id, sessions=started.sessions
            )
        if renewed is None:
            raise NotFound.of("instance", instance.instance_id)
        on_log(f"instance {instance.instance_id} runs")
        return renewed

    def revive(self, instance_id: str) -> bool:
        """Restart an instance's server if it is down; return whether it was.

        Return False when the instance is gone. Raises what ``ensure_running`` raises.
        """
        with suppress(NotFound), self._services.locks.hold(instance_id):
            before = self._services.instance(instance_id).runtime_id
            return self.ensure_running(instance_id, _log.info).runtime_id != before
        return False

    def hold_port(self, instance_id: str) -> None:
        """Keep the port of an instance whose server has ended from other programs."""
        instance = self._services.store.instances.get(instance_id)
        if instance is not None:
            self._services.ports.hold(instance.port)

    def _started(self, instance: Instance, server: Cluster) -> Started:
        """Start an instance's server on the port in its row. Raises PortTaken, ClusterFailed."""
        if server.postmaster() is None and not self._services.ports.hold(instance.port):
            raise PortTaken("another program has the instance's port", str(instance.port))
        settings = self._provisioner.settings()
        return self._provisioner.start(server, instance.port, instance.password, settings)

    def _moved(self, instance: Instance, server: Cluster, on_log: OnLog) -> Instance:
        """Give an instance another port and another password.

        A client that took the program on the port for the instance may have sent it the
        password. So the password changes before the server can be reached, and in the row
        before that, in case of a crash.
        """
        ports = self._services.ports
        with ports.releasing(instance.port), ports.reserved() as port:
            moved = self._services.store.instances.update(
                instance.instance_id, port=port, password=new_password()
            )
            if moved is None:
                raise NotFound.of("instance", instance.instance_id)
            ports.keep(port)
        message = (
            f"another program has port {instance.port} of instance {instance.instance_id}, which"
            f" gets port {port} and another password: ask for its DSN again"
        )
        _log.warning("%s", message)
        on_log(message)
        self._provisioner.change_password(server, moved.password)
        return moved

    def _on_port(self, instance: Instance, port: int) -> Instance:
        """Set the port in a row to that of its running server, which its clients know."""
        if port == instance.port:
            return instance
        with self._services.ports.releasing(instance.port):
            changed = self._services.store.instances.update(instance.instance_id, port=port)
        return changed or instance
