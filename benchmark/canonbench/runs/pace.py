"""How fast work goes, and how long what is left will take."""

from __future__ import annotations

from dataclasses import dataclass

HALF_LIFE = 60.0
"""Seconds of work after which a measurement counts half: a run gets slower and faster."""


@dataclass
class Pace:
    """Of one kind of work, in units of its own: tokens scored, optimiser steps."""

    units: float = 0.0
    seconds: float = 0.0

    def add(self, units: float, seconds: float) -> None:
        """So much was done in so long."""
        kept = 0.5 ** (seconds / HALF_LIFE)
        self.units = kept * self.units + units
        self.seconds = kept * self.seconds + seconds

    def time_for(self, units: float) -> float | None:
        """Seconds that so much will take; None while nothing is known."""
        if not units:
            return 0.0
        return units * self.seconds / self.units if self.units and self.seconds else None


def span(seconds: float) -> str:
    """A time for people: ``42 s``, ``7 min``, ``3 h 20 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
