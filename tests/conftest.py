"""For every test: no verdict by the clock, so property tests have no deadline."""

from hypothesis import settings

settings.register_profile("house", deadline=None)
settings.load_profile("house")
