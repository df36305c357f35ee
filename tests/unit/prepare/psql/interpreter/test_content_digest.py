"""Digests of records: no two different sequences have the same."""

from hypothesis import given, settings
from hypothesis import strategies as st

from sqlrs_engine.prepare.psql.interpreter.content_digest import ContentDigest

records = st.lists(st.lists(st.text(max_size=3), max_size=3), max_size=3)


@given(records, records)
@settings(deadline=None)
def test_different_sequences_of_records_have_different_digests(one, other):
    first, second = ContentDigest(), ContentDigest()
    for record in one:
        first.add(*record)
    for record in other:
        second.add(*record)
    assert (first.hexdigest() == second.hexdigest()) == (one == other)
