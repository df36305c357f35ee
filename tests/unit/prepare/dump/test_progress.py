import pytest
from support.waiting import eventually

from sqlrs_engine.prepare.dump.progress import Meter, of, ticking


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (0, 0, "0 of 0 B"),
        (5, 999, "5 of 999 B"),
        (500, 1000, "0.5 of 1.0 KB"),
        (1_234_567_890, 3_400_000_000, "1.2 of 3.4 GB"),
        (10**14, 3 * 10**15, "100.0 of 3000.0 TB"),
    ],
)
def test_bytes_as_people_write_them(done, total, text):
    assert of(done, total) == text


def test_a_meter_reports_once_a_second():
    now, log = [0.0], []
    meter = Meter("reading x", 100, log.append, lambda: now[0])
    for seconds in (0.5, 0.5, 0.1, 0.1, 0.9):
        now[0] += seconds
        meter.add(10)
    assert log == ["reading x: 20 of 100 B", "reading x: 50 of 100 B"]


def test_the_work_of_a_block_is_described_until_its_end():
    log = []
    with ticking(log.append, lambda: "the same"):
        eventually(lambda: log, "the first message")
    assert log == ["the same"]
