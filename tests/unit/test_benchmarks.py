"""The benchmark's figures: percentiles, verdicts, ratios, the report, the load generator."""

import contextlib
import io
import json
import socketserver
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from benchmarks import plot, report
from benchmarks.__main__ import main
from benchmarks.inputs import inputs
from benchmarks.load import RefusedError, latencies
from benchmarks.measure import Timing


def timing(**fields: object) -> Timing:
    return Timing(**{"work": "w", "where": "x", **fields})  # type: ignore[arg-type]


def test_times_are_judged_from_above_and_rates_from_below() -> None:
    samples = [float(n) for n in range(1, 101)]
    took = timing(target=50, samples=samples)
    assert (took.p50, took.p99, took.met) == (50, 99, True)
    rate = timing(target=52, samples=samples, is_rate=True)
    assert (rate.p50, rate.p99, rate.met) == (51, 2, False)
    assert timing(samples=samples).met is None


def test_rivals_of_the_same_task_and_database_compare() -> None:
    ours = timing(samples=[10.0], task="t", database="d")
    rivals = [
        timing(work="slow", samples=[25.0], task="t", database="d", is_rival=True),
        timing(work="other", samples=[1.0], task="t", database="e", is_rival=True),
    ]
    assert report.compare(ours, [ours, *rivals]) == "2.5x slow"
    assert ours.advantage(rivals[0]) == 2.5
    rate = timing(samples=[10.0], is_rate=True)
    assert rate.advantage(timing(samples=[5.0], is_rate=True)) == 2


def test_the_report(tmp_path: Path) -> None:
    timings = [timing(target=1, samples=[5.0]), timing(work="v", samples=[1234.0])]
    text = io.StringIO()
    report.show(timings, {"cores": 2}, Console(file=text, width=150))
    for word in ("MISSED", "1,234", "cores: 2"):
        assert word in text.getvalue()
    report.write(tmp_path / "r.json", timings, {"cores": 2})
    written = json.loads((tmp_path / "r.json").read_text())
    assert [each["met"] for each in written["timings"]] == [False, None]


def test_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plot.write(tmp_path / "p.svg", [timing(target=1, samples=[5.0]), timing(samples=[9.0])])
    assert "<svg" in (tmp_path / "p.svg").read_text()


def test_chinook_is_loaded_into_the_database_it_is_given(tmp_path: Path) -> None:
    script = tmp_path / "c.sql"
    script.write_text(
        "DROP DATABASE IF EXISTS c;\nCREATE DATABASE c;\n\\c c;\nCREATE TABLE t ();\n"
    )
    made = inputs(["empty", "chinook"], script, tmp_path)
    assert [each.name for each in made] == ["empty", "Chinook"]
    assert Path(made[1].arguments[1]).read_text().split() == ["CREATE", "TABLE", "t", "();"]
    assert [each.name for each in inputs(["chinook", "pgbench"], None, tmp_path)] == [
        "pgbench 1 GB"
    ]


@pytest.mark.parametrize("option", [["--sizes", "huge"], ["--only", "nothing"]])
def test_usage(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(option)
    assert "choose from" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", None),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", RefusedError),
        (b"", ConnectionError),
    ],
)
def test_load(answer: bytes, error: type[Exception] | None) -> None:
    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):
                while answer and self.rfile.readline():
                    while self.rfile.readline() not in (b"\r\n", b""):
                        pass
                    # In pieces, so that an answer has to be put together.
                    for piece in (answer[:7], answer[7:-3], answer[-3:]):
                        self.wfile.write(piece)
                        time.sleep(0.002)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        try:
            if error is not None:
                with pytest.raises(error):
                    latencies(url, "t", connections=2, seconds=0.5)
            else:
                assert latencies(url, "t", connections=2, seconds=0.2)
        finally:
            server.shutdown()
            thread.join(10)
