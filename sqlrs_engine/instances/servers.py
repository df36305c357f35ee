"""The PostgreSQL servers of containers."""

from pathlib import Path

from sqlrs_engine.postgres.cluster import Cluster
from sqlrs_engine.postgres.distributions.catalog import Distribution, Distributions
from sqlrs_engine.postgres.distributions.pulled_images import Work
from sqlrs_engine.postgres.os_user import OsUser
from sqlrs_engine.statefs import data_dir

LOG_FILE = "postgres.log"


class Servers:
    """Finds the clusters that belong in container directories."""

    def __init__(self, distributions: Distributions, os_user: OsUser | None) -> None:
        """``os_user`` runs the servers when the engine is root."""
        self._distributions = distributions
        self._os_user = os_user

    def server(self, image_id: str, container: Path) -> Cluster:
        """Return the cluster of a container, whether its server runs or not.

        Raises ImageUnavailable when the binaries of its image are gone.
        """
        return self._cluster(self._distributions.get(image_id), container)

    def images_with(self, extension: str) -> list[tuple[str, Distribution]]:
        """Return the images of this machine that have an extension, best first."""
        return self._distributions.images_with(extension)

    def fetch_extension(self, extension: str, distribution: Distribution, work: Work) -> bool:
        """Download an extension that a distribution lacks; return whether that is possible.

        Raises what ``Distributions.fetch_extension`` raises.
        """
        return self._distributions.fetch_extension(extension, distribution, work)

    def kill(self, container: Path) -> None:
        """End the server in a container at once; needs no binaries. Raises ClusterFailed."""
        self._cluster(_ANY_BINARIES, container).stop("immediate")

    def _cluster(self, distribution: Distribution, container: Path) -> Cluster:
        return Cluster(
            distribution,
            data_dir(container),
            os_user=self._os_user,
            log_file=container / LOG_FILE,
        )


# Stopping a server needs none of its programs, so it works after they were removed.
_ANY_BINARIES = Distribution(
    image_id="", version="", major=0, bin_dir=Path("/nonexistent"), origin="installed"
)
