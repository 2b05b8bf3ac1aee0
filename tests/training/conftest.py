"""What the tests of training share: the toy domain, installed."""

import pytest
import toy

from loopverse import registry


@pytest.fixture(autouse=True)
def _toy_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "domain_entry_points", registry.domain_entry_points)
    toy.register()
