"""For every test: examples have no deadline, since servers of other tests share the processors; and
what needs no server comes first, while `./inv test` makes the images."""

import pytest
from hypothesis import settings

settings.register_profile("suite", deadline=None)
settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.parent.name != "unit")
