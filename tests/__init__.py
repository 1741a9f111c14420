"""Tests, and what several of them share: `from tests.train.small_run import trainer`."""
