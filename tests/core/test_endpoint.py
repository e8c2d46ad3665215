import pytest

from streamer.core.endpoint import EndpointRules, next_endpoint


def test_defaults_are_sherpas():
    assert EndpointRules() == EndpointRules(silence_idle_s=2.4, silence_s=1.2, max_utterance_s=20.0)


def test_without_text_the_utterance_restarts():
    rules = EndpointRules(silence_idle_s=2.0, silence_s=0.5, max_utterance_s=3.0)
    at = next_endpoint(rules, decoded=False, start_sample=160, last_sample=0)
    assert at == (160 + 32_000, "idle")


def test_after_text_silence_ends_it():
    rules = EndpointRules(silence_s=0.5)
    at = next_endpoint(rules, decoded=True, start_sample=0, last_sample=1600)
    assert at == (1600 + 8000, "endpoint")


def test_too_long_ends_it():
    rules = EndpointRules(max_utterance_s=2.0)
    at = next_endpoint(rules, decoded=True, start_sample=160, last_sample=31_000)
    assert at == (160 + 32_000, "length")


@pytest.mark.parametrize("value", [0.0, -1.0, float("nan"), float("inf"), 1e-6])
@pytest.mark.parametrize("name", ["silence_idle_s", "silence_s", "max_utterance_s"])
def test_bad_rules_are_refused_with_the_value(name, value):
    with pytest.raises(ValueError, match=rf"{name}.*got {value}"):
        EndpointRules(**{name: value})
