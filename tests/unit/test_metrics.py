"""metrics: what is counted, how it is shown, and that the documents know it."""

import re
from pathlib import Path

import pytest
from support.http_fakes import Api
from support.metric_samples import sample

from sqlrs_engine.metrics import Gauge, Metrics

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"


def test_jobs_are_counted_and_timed():
    metrics = Metrics()
    metrics.job_ended("psql", "succeeded", 0.2, "cached")
    metrics.job_ended("psql", "failed", 3.0, "failed")
    assert sample(metrics, "sqlrs_jobs_total", kind="psql", status="succeeded") == 1
    assert sample(metrics, "sqlrs_prepare_seconds_sum", result="failed") == 3.0
    assert sample(metrics, "sqlrs_prepare_seconds_bucket", result="cached", le="0.25") == 1
    assert sample(metrics, "sqlrs_prepare_seconds_bucket", result="cached", le="0.1") == 0


def test_lookups_tasks_and_evictions_are_counted():
    metrics = Metrics()
    metrics.looked_up(hit=True)
    metrics.looked_up(hit=False)
    metrics.looked_up(hit=False)
    metrics.task_ended("state_execute", "succeeded")
    metrics.evicted(100)
    metrics.evicted(11)
    assert sample(metrics, "sqlrs_cache_lookups_total", result="hit") == 1
    assert sample(metrics, "sqlrs_cache_lookups_total", result="miss") == 2
    assert sample(metrics, "sqlrs_tasks_total", type="state_execute", status="succeeded") == 1
    assert sample(metrics, "sqlrs_evictions_total") == 2
    assert sample(metrics, "sqlrs_evicted_bytes_total") == 111


def test_a_phase_is_timed_when_it_succeeds():
    metrics = Metrics()
    with metrics.phase("clone"):
        pass
    with pytest.raises(OSError, match="broken"), metrics.phase("clone"):
        raise OSError("broken")
    assert sample(metrics, "sqlrs_phase_seconds_count", phase="clone") == 1


def test_gauges_are_read_at_each_scrape():
    metrics = Metrics()
    values = {"": 1.0}
    metrics.add_gauge(Gauge("sqlrs_states", "Cached states.", lambda: values))
    metrics.add_gauge(Gauge("sqlrs_instances", "By status.", lambda: {"active": 2.0}, "status"))
    assert sample(metrics, "sqlrs_states") == 1
    values[""] = 5.0
    assert sample(metrics, "sqlrs_states") == 5
    assert sample(metrics, "sqlrs_instances", status="active") == 2


def test_two_engines_count_apart():
    one, two = Metrics(), Metrics()
    one.looked_up(hit=True)
    assert sample(two, "sqlrs_cache_lookups_total", result="hit") is None


def test_requests_are_counted_by_operation(tmp_path):
    api = Api(tmp_path)
    api.get("/v1/names")
    api.get("/v1/names")
    api.get("/nowhere")
    metrics = api.services.metrics
    assert sample(metrics, "sqlrs_http_requests_total", operation="listNames", status="200") == 2
    assert sample(metrics, "sqlrs_http_requests_total", operation="none", status="404") == 1


def test_metrics_are_served_to_who_has_the_token(tmp_path):
    api = Api(tmp_path)
    api.get("/v1/health")
    answer = api.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'sqlrs_http_requests_total{operation="getHealth",status="200"} 1.0' in answer.text
    assert api.get("/metrics", token=None).status_code == 401


def test_every_metric_is_documented():
    documented = set(re.findall(r"^\| `(sqlrs_\w+)`", DOCUMENT.read_text(), re.MULTILINE))
    package = Path(__file__).parents[2] / "sqlrs_engine"
    source = "".join((package / name).read_text() for name in ("metrics.py", "engine/gauges.py"))
    counters = {f"{name}_total" for name in re.findall(r'counter\(\s*"(\w+)"', source)}
    others = set(re.findall(r'(?:histogram|Gauge)\(\s*"(\w+)"', source))
    assert documented == counters | others
