# make demo | test | check | clean. Each does its own set-up, once; none asks anything.
# PYTHON=… names the interpreter to build .venv with (3.11 or 3.12).
.PHONY: demo test check clean
SETUP := pyproject.toml constraints.txt .ci/setup
BIN := .venv/bin
# In the tests a real sound server stands in for the microphone, a real broker for a house, and a
# real browser shows the pages; on Ubuntu it is a snap, and CHROMIUM=/path names another. KenLM (lm)
# is built from its source; where that fails, the demo goes on without a language model.
TEST_PACKAGES := g++ libportaudio2 pulseaudio pulseaudio-utils libasound2-plugins mosquitto \
	chromium iproute2

demo: .venv/.ready-demo
	$(BIN)/python -m clients.demo

test: check
	$(BIN)/python -m pytest

check: .venv/.ready-test
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_layers.py

clean:
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find streamer models clients tests -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/.ready-demo: $(SETUP)
	.ci/setup mic,lm g++ libportaudio2
	touch $@

.venv/.ready-test: $(SETUP) tests/peers.txt
	.ci/setup dev $(TEST_PACKAGES)
	$(BIN)/python -m tests.peers
	touch $@ .venv/.ready-demo
