"""Tokens, tickets and allowances by themselves; test_access has them behind a real port."""

import hashlib

import pytest

from streamer.config import ConfigError, ServerConfig
from streamer.edges.websocket import limits, tokens
from streamer.edges.websocket.tokens import Identity, Tickets, Tokens

SECRET = "a-token-of-more-than-16"


def whose(identity: Identity | None) -> tuple[str, frozenset[str]]:
    assert identity is not None
    return identity.name, identity.scopes


def test_lines() -> None:
    hashed = hashlib.sha256(b"another-secret-token").hexdigest()
    lines = ["# phones", "", f"{SECRET} phones speak", f"sha256:{hashed} hall view,metrics"]
    known = Tokens([*lines, "the-third-and-last-token"])
    assert whose(known.find(SECRET)) == ("phones", {"speak"})
    assert whose(known.find("another-secret-token")) == ("hall", {"view", "metrics"})
    name = "token-" + hashlib.sha256(b"the-third-and-last-token").hexdigest()[:8]
    assert whose(known.find("the-third-and-last-token")) == (name, set(tokens.SCOPES))
    for wrong in ("", "phones", SECRET[:-1], SECRET + "x", f"sha256:{hashed}", hashed, "\udcff"):
        assert known.find(wrong) is None


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("short", "at least 16 characters"),
        (f"{SECRET} phones talk", "speak,view,metrics"),
        (f"{SECRET} phones speak more", "TOKEN [NAME [SCOPES]]"),
        ("sha256:abcd phones", "64 hex digits"),
        ("sha256:" + "x" * 64, "hex"),
    ],
)
def test_a_wrong_line_is_named_and_not_shown(line: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Tokens(["# first", line], "tokens.txt")
    assert "tokens.txt, line 2" in str(caught.value)
    assert words in str(caught.value)
    assert line.split()[0] not in str(caught.value)


def test_where_tokens_come_from(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMER_TOKENS", raising=False)
    assert not tokens.load(ServerConfig())
    monkeypatch.setenv("STREAMER_TOKENS", f"{SECRET} env")
    path = tmp_path / "tokens"
    path.write_text("in-the-file-12345 file\n")
    assert whose(tokens.load(ServerConfig()).find(SECRET))[0] == "env"
    of_file = tokens.load(ServerConfig(token_file=str(path)))
    assert whose(of_file.find("in-the-file-12345"))[0] == "file"
    assert of_file.find(SECRET) is None
    path.write_text("# nothing\n")
    with pytest.raises(ConfigError, match="has no token"):
        tokens.load(ServerConfig(token_file=str(path)))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="it is no text"):
        tokens.load(ServerConfig(token_file=str(path)))
    with pytest.raises(ConfigError, match="No such file"):
        tokens.load(ServerConfig(token_file=str(tmp_path / "none")))


def test_a_ticket_is_good_once_and_not_for_long() -> None:
    tickets, ann, bob = Tickets(), Identity("ann"), Identity("bob")
    first, second = tickets.issue(ann, 0.0), tickets.issue(bob, 0.0)
    assert tickets.redeem(second, 1.0) == bob
    assert tickets.redeem(second, 1.0) is None
    assert tickets.redeem(first, tokens.TICKET_S) is None
    assert tickets.redeem(first, 1.0) is None  # it was shown, though too late
    assert tickets.redeem("", 1.0) is None


def test_tickets_of_one_token_push_out_only_their_own() -> None:
    tickets, ann, bob = Tickets(), Identity("ann"), Identity("bob")
    kept = tickets.issue(bob, 0.0)
    issued = [tickets.issue(ann, 0.0) for _ in range(tokens.MAX_TICKETS + 1)]
    assert [tickets.redeem(each, 1.0) for each in issued] == [None] + [ann] * tokens.MAX_TICKETS
    assert tickets.redeem(kept, 1.0) == bob


def test_a_rate_allows_a_burst_and_then_its_pace() -> None:
    rate = limits.Rate(per_minute=6)
    for _ in range(6):
        assert rate.wait_s("a", 100.0) == 0
        rate.take("a", 100.0)
    assert rate.wait_s("a", 100.0) == pytest.approx(10)
    assert rate.wait_s("b", 100.0) == 0
    assert rate.wait_s("a", 110.0) == pytest.approx(0)
    rate.take("a", 110.0)
    assert rate.wait_s("a", 110.0) == pytest.approx(10)
    assert rate.wait_s("a", 1_000.0) == 0


def test_a_rate_remembers_so_many() -> None:
    rate = limits.Rate(per_minute=1)
    for number in range(limits.MAX_KEYS + 1):
        rate.take(str(number), 0.0)
    assert (rate.wait_s("0", 0.0), rate.wait_s("1", 0.0)) == (0, 60)


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_what_an_address_counts_as(address: str, key: str) -> None:
    assert limits.address_key(address) == key
