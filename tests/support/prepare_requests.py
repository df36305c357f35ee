"""Prepare requests of one stage."""

from typing import Any

from sqlrs_engine.prepare.request import PrepareRequest
from sqlrs_engine.prepare.stages import LiquibaseStage, PsqlStage


def single_stage(
    *, prepare_kind: str = "psql", image_id: str = "postgres", plan_only: bool = False, **stage: Any
) -> PrepareRequest:
    """A request of the kind psql or lb; ``stage`` are the fields of its stage."""
    kinds = {"psql": PsqlStage, "lb": LiquibaseStage}
    return PrepareRequest(
        prepare_kind=prepare_kind,
        image_id=image_id,
        stages=(kinds[prepare_kind](**stage),),
        source_manifest=stage.get("source_manifest"),
        plan_only=plan_only,
    )
