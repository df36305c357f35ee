"""The parts of this package, wired to each other."""

import os
import time
from collections.abc import Callable

from sqlrs_engine.host.memory import Memory, ProcMemory
from sqlrs_engine.store import InstanceFilter

from .create import Creation
from .fifo_semaphore import FifoSemaphore
from .pool.pool import Pool, Spawn, in_thread
from .promote import Promotion
from .provisioner import Provisioner
from .reaper import Reaper
from .recovery import Recovery
from .removal import Removal
from .reset import Reset
from .restart import Restart
from .services import Services
from .supervisor import Supervisor
from .usage import Usage

_MIN_CLONES_AT_ONCE = 2


class Instances:
    """The instances of one engine: one part per operation on them.

    All parts are safe to use from any thread.
    """

    def __init__(
        self,
        services: Services,
        *,
        memory: Memory | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        spawn: Spawn = in_thread,
    ) -> None:
        """Wire the parts; nothing runs in the background yet.

        The pool measures ``memory``, reads the time from ``monotonic`` (seconds), and makes
        standbys in the threads that ``spawn`` starts.
        """
        self.services = services
        self.expiry = services.expiry
        provisioner = Provisioner(services)
        clone_semaphore = FifoSemaphore(max(_MIN_CLONES_AT_ONCE, os.cpu_count() or 0))
        self.usage = Usage(services)
        self.removal = Removal(services, provisioner)
        self.supervisor = Supervisor(
            lambda: services.store.instances.find(InstanceFilter()),
            on_end=lambda instance_id: self.restart.hold_port(instance_id),
            revive=lambda instance_id: self.restart.revive(instance_id),
        )
        self.restart = Restart(services, provisioner, self.supervisor)
        self.pool = Pool(
            services,
            provisioner,
            clone_semaphore,
            memory=memory or ProcMemory(),
            now=monotonic,
            spawn=spawn,
        )
        self.creation = Creation(
            services,
            provisioner,
            pool=self.pool,
            clone_semaphore=clone_semaphore,
            restart=self.restart,
            removal=self.removal,
            supervisor=self.supervisor,
        )
        self.reset = Reset(services, provisioner, self.restart, self.usage)
        self.promotion = Promotion(services, provisioner, self.restart, self.usage)
        self.reaper = Reaper(services, self.removal, self.usage)
        self.recovery = Recovery(services, provisioner, self.restart, self.reaper)

    def stop(self) -> None:
        """End the work in the background except the pool's; servers keep running.

        A recovery ends after its current steps.
        """
        self.recovery.stop()
        self.supervisor.stop()
        self.reaper.stop()
        self.services.ports.close()
