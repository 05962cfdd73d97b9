"""What does the scheduler refuse?"""

from __future__ import annotations


class InvalidSchedule(Exception):
    """A field of a schedule is wrong; the message names it, its value and what would be right."""
