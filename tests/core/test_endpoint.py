import pytest

from streamer.core.endpoint import EndpointRules, next_endpoint


def test_without_text_the_utterance_restarts():
    rules = EndpointRules(silence_idle_s=2.0, silence_s=0.5, max_utterance_s=3.0)
    at = next_endpoint(rules, decoded=False, start_sample=160, last_sample=0, quiet_sample=0)
    assert at == (160 + 32_000, "idle")


def after_text(rules, *, last_sample, quiet_sample, start_sample=0):
    return next_endpoint(
        rules,
        decoded=True,
        start_sample=start_sample,
        last_sample=last_sample,
        quiet_sample=quiet_sample,
    )


def test_after_text_a_quiet_silence_ends_it():
    rules = EndpointRules(silence_s=0.5, blank_s=2.0)
    assert after_text(rules, last_sample=1600, quiet_sample=9600) == (9600, "endpoint")


def test_after_text_a_long_silence_ends_it_however_loud():
    rules = EndpointRules(silence_s=0.5, blank_s=2.0)
    assert after_text(rules, last_sample=1600, quiet_sample=50_000) == (33_600, "endpoint")


def test_the_rule_for_loud_silence_is_never_the_shorter_one():
    rules = EndpointRules(silence_s=3.0, blank_s=1.0)
    assert after_text(rules, last_sample=1600, quiet_sample=50_000) == (49_600, "endpoint")


def test_too_long_ends_it():
    rules = EndpointRules(max_utterance_s=2.0)
    at = after_text(rules, start_sample=160, last_sample=31_000, quiet_sample=40_600)
    assert at == (160 + 32_000, "length")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-6])
@pytest.mark.parametrize("name", ["silence_idle_s", "silence_s", "blank_s", "max_utterance_s"])
def test_bad_rules_are_refused_with_the_value(name, value):
    with pytest.raises(ValueError, match=rf"{name}.*got {value}"):
        EndpointRules(**{name: value})
