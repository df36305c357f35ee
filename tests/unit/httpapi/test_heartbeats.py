"""The numbers of repeated events."""

from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine.httpapi import heartbeats
from sqlrs_engine.httpapi.heartbeats import Heartbeats, Place


def walk(beats: Heartbeats, events: int, start: int = 0) -> list[str]:
    """Return what a stream of so many events sends after the first ``start`` lines."""
    place = beats.place("job", start)
    sent = []
    while True:
        if beats.due("job", place) is not None:
            sent.append(f"{place.events - 1}")
            place = beats.passed("job", place, beats=1)
        elif place.events < events:
            count = beats.until_next("job", place, events - place.events)
            sent += [f"{number}" for number in range(place.events, place.events + count)]
            place = beats.passed("job", place, events=count)
        else:
            return sent


@given(st.lists(st.booleans(), max_size=40))
def test_a_line_has_the_same_number_in_all_streams(happenings: list[bool]) -> None:
    beats = Heartbeats()
    place = Place(0, 0)
    sent: list[str] = []
    for is_event in [True, *happenings]:
        if is_event:
            sent.append(f"{place.events}")
            place = beats.passed("job", place, events=1)
        else:
            beats.add("job", place, "now")
            sent.append(f"{place.events - 1}")
            place = beats.passed("job", place, beats=1)
    for start in range(len(sent) + 1):
        assert walk(beats, place.events, start) == sent[start:]


def test_there_is_no_heartbeat_where_another_stream_has_passed() -> None:
    beats = Heartbeats()
    beats.passed("job", Place(0, 0), events=3)
    beats.add("job", Place(2, 0), "late")
    assert walk(beats, 3) == ["0", "1", "2"]


def test_two_streams_share_a_heartbeat_at_the_same_position() -> None:
    beats = Heartbeats()
    place = beats.passed("job", Place(0, 0), events=1)
    beats.add("job", place, "first")
    beats.add("job", place, "second")
    assert beats.due("job", place) == "first"
    assert walk(beats, 1) == ["0", "0"]


def test_the_heartbeats_of_old_jobs_are_forgotten(monkeypatch) -> None:
    monkeypatch.setattr(heartbeats, "MOST_JOBS", 2)
    beats = Heartbeats()
    for job in ("one", "two", "three"):
        place = beats.passed(job, Place(0, 0), events=1)
        beats.add(job, place, "now")
    assert beats.due("one", Place(1, 0)) is None
    assert beats.due("three", Place(1, 0)) == "now"
