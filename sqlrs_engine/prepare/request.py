"""The request of a prepare, as submitted and as stored with its job."""

from dataclasses import dataclass
from typing import Any

from sqlrs_engine.errors import InvalidArgument
from sqlrs_engine.sources import Manifest
from sqlrs_engine.store.records import Json

from .stages import LiquibaseStage, PsqlStage, Stage, stage_from_json

CHAIN = "chain"

# A request of these kinds has the fields of its only stage in its own body.
_SINGLE: dict[str, type[PsqlStage | LiquibaseStage]] = {
    stage.kind: stage for stage in (PsqlStage, LiquibaseStage)
}
KINDS = (*_SINGLE, CHAIN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The state that a request starts from: by its id, or that of a name's instance."""

    state_id: str | None = None
    name: str | None = None

    @classmethod
    def from_json(cls, body: Json) -> "Origin":
        """Read the field ``from``. Raises InvalidArgument without exactly one reference."""
        state_id, name = body.get("state_id") or None, body.get("name") or None
        if (state_id is None) == (name is None):
            raise InvalidArgument("from needs either state_id or name: give one of them")
        return cls(state_id=state_id, name=name)

    def to_json(self) -> Json:
        """Return the reference."""
        return {"state_id": self.state_id} if self.state_id else {"name": self.name}


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """The body of ``POST /v1/prepare-jobs``; absent and ``null`` are the same.

    A request has an ``image_id`` or an ``origin``, never both.
    """

    prepare_kind: str
    image_id: str | None = None
    origin: Origin | None = None
    stages: tuple[Stage, ...]
    source_manifest: Manifest | None = None
    plan_only: bool = False

    @classmethod
    def from_json(cls, body: Json) -> "PrepareRequest":
        """Read a request whose types the API document has checked.

        Unknown fields pass, except those of a chain's stages. Raises InvalidArgument without a
        known kind, without an image or a state to start from, for a ``work_dir`` that is not
        absolute, and for invalid stages and manifests.
        """
        kind = (body.get("prepare_kind") or "").strip()
        if not kind:
            raise InvalidArgument("prepare_kind is required", f"use one of {', '.join(KINDS)}")
        if kind not in KINDS:
            raise InvalidArgument(
                "unknown prepare_kind", f"{kind!r}: use one of {', '.join(KINDS)}"
            )
        image, origin = _start(body)
        manifest = body.get("source_manifest")
        files = None if manifest is None else Manifest.from_json(manifest)
        return cls(
            prepare_kind=kind,
            image_id=image,
            origin=origin,
            stages=_chain(body) if kind == CHAIN else (_SINGLE[kind].from_json(body, files),),
            source_manifest=files,
            plan_only=bool(body.get("plan_only")),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the fields that are set; ``from_json`` reads them back."""
        if self.prepare_kind == CHAIN:
            stages = {"stages": [{"kind": each.kind, **each.to_json()} for each in self.stages]}
        else:
            stages = self.stages[0].to_json()
        fields: dict[str, Any] = {
            "prepare_kind": self.prepare_kind,
            "image_id": self.image_id,
            "from": self.origin and self.origin.to_json(),
            **stages,
            "source_manifest": self.source_manifest and self.source_manifest.to_json(),
            "plan_only": self.plan_only,
        }
        return {name: value for name, value in fields.items() if value not in (None, False)}


def _start(body: Json) -> tuple[str | None, Origin | None]:
    image = (body.get("image_id") or "").strip()
    origin = body.get("from")
    if image and origin:
        raise InvalidArgument("image_id and from exclude each other", "send one of them")
    if origin:
        return None, Origin.from_json(origin)
    if not image:
        raise InvalidArgument(
            "image_id is required",
            "name an image such as postgres:17, or start from a state with from",
        )
    return image, None


def _chain(body: Json) -> tuple[Stage, ...]:
    if body.get("source_manifest") is not None:
        raise InvalidArgument(
            "source_manifest is not for chains: send a request of the kind psql or lb"
        )
    stages = body.get("stages") or ()
    if not stages:
        raise InvalidArgument("a chain needs stages: list at least one")
    return tuple(stage_from_json(each, place(number)) for number, each in enumerate(stages))


def place(number: int) -> str:
    """Return how errors name a stage of a chain; numbers start at 0."""
    return f"stages[{number}]"
