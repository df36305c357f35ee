"""Values of metrics, read from the text format."""

from prometheus_client.parser import text_string_to_metric_families

from sqlrs_engine.metrics import Metrics


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    """Return one value, None when there is none with these labels."""
    for family in text_string_to_metric_families(metrics.render().decode()):
        for each in family.samples:
            if each.name == name and each.labels == labels:
                return float(each.value)
    return None
