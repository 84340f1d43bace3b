"""What property-based tests need of hypothesis (extra `test`). Without it, they are skipped and say so."""

import pytest

try:
    from hypothesis import given, settings
    from hypothesis import strategies as st
except ImportError:

    class _Anything:
        def __getattr__(self, name):
            return lambda *_, **__: self

    st = _Anything()

    def settings(*_, **__):
        return lambda test: test

    def given(*_, **__):
        def replace(test):
            @pytest.mark.skip(reason="property-based test: pip install '.[test]' brings hypothesis")
            def skipped():
                pass

            skipped.__name__ = test.__name__
            return skipped

        return replace


__all__ = ["given", "settings", "st"]
