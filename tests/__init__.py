"""The tests mirror the package: what halfseen/run/session.py does is tested in tests/run/test_session.py."""
