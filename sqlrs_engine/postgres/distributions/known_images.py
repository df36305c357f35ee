"""The images that were on this machine once, so that an error can name the way back."""

import logging
import threading
from pathlib import Path

from sqlrs_engine.postgres.images.image_layout import read_json, write_json
from sqlrs_engine.postgres.images.image_store import StoredImage
from sqlrs_engine.postgres.images.references import parse_reference

_log = logging.getLogger(__name__)


class KnownImages:
    """Commands by image id, in a file; thread-safe. Losing an entry costs an advice."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()

    def add(self, image_id: str, image: StoredImage) -> None:
        """Keep how to get an image."""
        with self._lock:
            known = read_json(self._path) or {}
            if known.get(image_id) == (command := _command(image)):
                return
            try:
                write_json(self._path, known | {image_id: command})
            except OSError as error:
                _log.warning("cannot keep where an image comes from: %s", error)

    def command(self, image_id: str) -> str | None:
        """Return the command that gets an image again, None if it is not known."""
        command = (read_json(self._path) or {}).get(image_id)
        return command if isinstance(command, str) else None


def _command(image: StoredImage) -> str:
    for name in image.references:
        reference = parse_reference(name)
        if reference.digest is None:
            return f"sqlrs-engine postgres pull {name}@{image.digest}"
        return f"sqlrs-engine postgres pull {name}"
    return f"sqlrs-engine postgres load {image.origin}"
