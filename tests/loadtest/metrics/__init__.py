"""Tests of loadtest/metrics/."""
