"""stream: NDJSON lines."""

import io
import json

import ndjson
from hypothesis import given
from hypothesis import strategies as st

from sqlrs_engine import stream

SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text()
OBJECTS = st.dictionaries(st.text(), SCALARS | st.lists(SCALARS, max_size=3), max_size=5)


@given(st.lists(OBJECTS, max_size=5))
def test_each_object_is_one_line_and_reads_back(objects):
    encoded = stream.encode(objects)
    assert encoded.count(b"\n") == len(objects)
    assert [json.loads(line) for line in encoded.split(b"\n")[:-1]] == objects


def test_other_ndjson_readers_read_the_stream():
    objects = [{"message": "a\nb"}, {"message": "línea"}, {}]
    assert list(ndjson.reader(io.StringIO(stream.encode(objects).decode()))) == objects


@given(st.lists(st.text(st.sampled_from("a\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029é"))))
def test_readers_that_split_at_any_line_end_of_unicodes_see_the_same_lines(texts):
    lines = stream.encode({"data": text} for text in texts).decode().splitlines()
    assert [json.loads(line)["data"] for line in lines] == texts


def test_an_empty_stream_has_no_line():
    assert stream.encode([]) == b""
    assert stream.join([]) == b""


def test_encoded_lines_are_joined_as_they_are():
    assert stream.join([b'{"a":1}', b'{"a":2}']) == b'{"a":1}\n{"a":2}\n'
