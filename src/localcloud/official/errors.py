"""Why does Google's emulator not run?"""

from __future__ import annotations


class NotInstalled(Exception):
    """Java or the emulator is missing; the message says what to install."""


class EmulatorFailed(Exception):
    """It did not start; the message has its last words."""
