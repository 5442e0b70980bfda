"""A machine whose caches hold next to nothing: even small arrays run in many tiles, and reductions leave parts."""

from dataclasses import replace

from gradloom.passes.target import DEFAULT_TARGET

SMALL_TARGET = replace(DEFAULT_TARGET, l1_bytes=3 * 16, l2_bytes=5 * 64)
"""Rows of 3 elements, tiles of 5."""
