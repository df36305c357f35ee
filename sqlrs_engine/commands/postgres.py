"""``postgres``: list and install the distributions to which an image can resolve."""

import argparse
from functools import partial
from typing import TYPE_CHECKING

from sqlrs_engine.postgres.distributions.image_names import ENGINE
from sqlrs_engine.postgres.majors import NEWEST_MAJOR, OLDEST_MAJOR

from . import SUCCESS
from .terminal import Places, Terminal, add_json, add_state_dir, places

if TYPE_CHECKING:
    from sqlrs_engine.postgres.distributions.distribution import Distribution

MAJORS = range(OLDEST_MAJOR, NEWEST_MAJOR + 1)


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command to the command line."""
    parser = commands.add_parser("postgres", help="list and install versions of PostgreSQL")
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="list the versions to which an image can resolve")
    add_json(listing)
    add_state_dir(listing)
    listing.set_defaults(run=run_list)
    install = actions.add_parser(
        "install",
        help="download a major version, for all of your state stores",
        epilog="example:  sqlrs-engine postgres install 15",
    )
    install.add_argument(
        "major",
        type=int,
        choices=MAJORS,
        metavar="MAJOR",
        help=f"{OLDEST_MAJOR} to {NEWEST_MAJOR}; installs the newest minor version",
    )
    add_state_dir(install)
    install.set_defaults(run=run_install)


def run_list(args: argparse.Namespace, terminal: Terminal) -> int:
    """Print the available distributions; needs no running engine."""
    from sqlrs_engine.engine.offline import distributions

    where = places(args.state_dir, terminal.environ)
    search_path = terminal.environ.get("PATH", "")
    found = distributions(where.store, search_path, where.builds).available()
    if args.json:
        terminal.print_json(
            [
                {
                    "image_id": each.image_id,
                    "version": each.version,
                    "origin": each.origin,
                    "bin_dir": str(each.bin_dir),
                }
                for each in found
            ]
        )
        return SUCCESS
    # A tag resolves to the best distribution of its version; digests name the others.
    tagged = {each.version: each for each in reversed(found)}
    images = (_tag(each) if tagged[each.version] is each else each.image_id for each in found)
    terminal.print_table(
        ("VERSION", "ORIGIN", "IMAGE", "PLACE"),
        (
            (each.version, each.origin, image, str(each.bin_dir))
            for each, image in zip(found, images, strict=True)
        ),
    )
    return SUCCESS


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
