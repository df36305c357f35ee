"""The offer to get the extension for want of which a prepare has failed, made at a terminal."""

from collections.abc import Mapping
from typing import Any

from sqlrs_engine.postgres.distributions.image_names import ENGINE, parse_image

from .postgres import install_major
from .terminal import Places, Terminal


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
