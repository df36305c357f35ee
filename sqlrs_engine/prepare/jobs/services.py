"""The services that all jobs share."""

from dataclasses import dataclass, field
from typing import Protocol

from sqlrs_engine.clock import Clock
from sqlrs_engine.config import Config
from sqlrs_engine.instances.create import Creation
from sqlrs_engine.instances.disk_budget import DiskBudget, Unlimited
from sqlrs_engine.metrics import Metrics
from sqlrs_engine.postgres.base_recipe import BaseRecipe
from sqlrs_engine.postgres.distributions.distribution import Distribution
from sqlrs_engine.prepare.build.builder import Builder
from sqlrs_engine.prepare.draft import Draft
from sqlrs_engine.prepare.job_context import JobContext
from sqlrs_engine.prepare.observation.observer import Observation
from sqlrs_engine.prepare.plan import Configured
from sqlrs_engine.prepare.planner import Planner
from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.retry_queue import RetryQueue
from sqlrs_engine.states.durability import Durability
from sqlrs_engine.states.leases import Leases
from sqlrs_engine.states.states import States
from sqlrs_engine.store import JobStore

from .events import EventLog
from .origins import Origins


class Images(Protocol):
    """Finds PostgreSQL; implemented by ``Distributions``."""

    def resolve(self, image: str, work: JobContext | None = None) -> Distribution:
        """Return the distribution of an image, which a job may pull.

        Raises ImageUnavailable, what a pull raises, Cancelled, Interrupted.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The services that all jobs share; safe to use from any thread."""

    jobs: JobStore
    events: EventLog
    images: Images
    origins: Origins
    planner: Planner
    builder: Builder
    observation: Observation
    states: States
    durability: Durability
    leases: Leases
    creation: Creation
    config: Config
    clock: Clock
    metrics: Metrics = field(default_factory=Metrics)
    disk_budget: DiskBudget = field(default_factory=Unlimited)
    retries: RetryQueue = field(default_factory=RetryQueue)

    def configured(self) -> Configured:
        """Return the configuration that plans depend on, as it is now."""
        settings, roles, locale = self.config.values(
            "postgres.settings", "postgres.roles", "postgres.locale"
        )
        return Configured(settings=settings or {}, base=BaseRecipe.of(roles, locale))

    def draft(self, request: PrepareRequest) -> Draft:
        """Read a request, for servers as they are configured now; see ``Planner.draft``."""
        return self.planner.draft(request, self.configured())
