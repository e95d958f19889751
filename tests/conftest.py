"""For every test: examples have no deadline, since servers of other tests share the processors."""

from hypothesis import settings

settings.register_profile("suite", deadline=None)
settings.load_profile("suite")
