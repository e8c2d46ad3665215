"""What a client must ask of a new session when its old one is gone."""

from clients.python.outgoing import Outgoing
from streamer import messages as m


def test_a_new_session_begins_with_all_that_was_changed_before() -> None:
    start = m.Start(
        text=m.TextWishes(redact_numbers=True), endpoint=m.EndpointPatch(silence_ms=9_000)
    )
    outgoing = Outgoing(start, keeps_finals=False)
    changes = [
        m.Configure(text=m.TextWishes(written=True), keywords=(m.KeywordWish("lamp"),)),
        m.Configure(endpoint=m.EndpointPatch(vad=True), hotwords=("lamp",)),
        m.Configure(text=m.TextWishes(redact_numbers=False), keywords=()),
        m.Configure(keywords=(m.KeywordWish("never taken"),)),
    ]
    for change in changes:
        outgoing.add(change)
        outgoing.next()
    outgoing.taken(0, 3)
    assert outgoing.start == m.Start(
        text=m.TextWishes(written=True, redact_numbers=False),
        endpoint=m.EndpointPatch(silence_ms=9_000, vad=True),
        hotwords=("lamp",),
        keywords=(),
    )
