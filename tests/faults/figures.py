"""What the tests measured, for the end of the run's output."""

from __future__ import annotations

TAKEN_DOWN: list[str] = []


class Figures:
    """Takes lines down for one test."""

    def __init__(self, test: str) -> None:
        self._test = test

    def __call__(self, what: object) -> None:
        TAKEN_DOWN.append(f"{self._test}: {what}")
