from support.waiting import eventually

from sqlrs_engine.prepare.dump.progress import Meter, ticking


def test_a_meter_reports_once_a_second():
    now, log = [0.0], []
    meter = Meter("reading x", 100, log.append, lambda: now[0])
    for seconds in (0.5, 0.5, 0.1, 0.1, 0.9):
        now[0] += seconds
        meter.add(10)
    assert log == ["reading x: 20 B of 100 B", "reading x: 50 B of 100 B"]


def test_the_work_of_a_block_is_described_until_its_end():
    log = []
    with ticking(log.append, lambda: "the same"):
        eventually(lambda: log, "the first message")
    assert log == ["the same"]
