"""The offer to get the extension for want of which a prepare has failed, made at a terminal."""

import argparse
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from sqlrs_engine.postgres.distributions.image_names import ENGINE, parse_image

from . import preparation
from .postgres import install_major
from .preparation import Outcome
from .terminal import Places, Terminal, places

if TYPE_CHECKING:
    from sqlrs_engine.client.engine_client import EngineClient


def prepare_with_offers(
    engine: "EngineClient", body: dict[str, Any], args: argparse.Namespace, terminal: Terminal
) -> Outcome:
    """Run a job for a request; repeat it with other images that are offered and accepted."""
    outcome = preparation.prepare(engine, body, args, terminal)
    offered: set[str] = set()
    while "image_id" in body and (facts := _lacking(outcome.job, offered, args)):
        offered.add(facts["extension"])
        where = places(args.state_dir, terminal.environ)
        image = accepted(facts, body["image_id"], where, terminal)
        if image is None:
            break
        body = {**body, "image_id": image}
        outcome = preparation.prepare(engine, body, args, terminal)
    return outcome


def accepted(facts: Mapping[str, Any], image: str, where: Places, terminal: Terminal) -> str | None:
    """Offer to go on with a PostgreSQL that has the extension; return its image.

    ``facts`` are those of the error, ``image`` is what was prepared with. Returns None when the
    offer is declined, when there is none to make, and when another image was chosen on purpose.
    """
    extension = facts.get("extension")
    if extension is None or not terminal.interactive or not parse_image(image).official:
        return None
    if used := facts.get("use"):
        question = f"{extension} is in {used}, which is here: go on with it?"
        return str(used) if terminal.confirmed(question) else None
    if major := facts.get("install"):
        command = f"sqlrs-engine postgres install {major}"
        if not terminal.confirmed(f"{extension} comes with `{command}`: run that and go on?"):
            return None
        install_major(int(major), where, terminal)
        return f"{ENGINE}:{major}"
    if pulled := facts.get("pull"):
        question = f"{extension} is in {pulled}: pull it and go on?"
        return str(pulled) if terminal.confirmed(question) else None
    return None


def _lacking(
    job: dict[str, Any], offered: Collection[str], args: argparse.Namespace
) -> dict[str, Any] | None:
    """Return the facts of an extension that the job lacked and that was not offered yet."""
    if job["status"] != "failed" or args.json:
        return None
    facts: dict[str, Any] = (job.get("error") or {}).get("facts") or {}
    return facts if "extension" in facts and facts["extension"] not in offered else None
