"""Which histories of jobs on machines failed once? `test_machine_schedules.py` replays them all.

`make simulate` shrinks a history that fails and prints it as an entry of `PARTS`: paste it here before you mend what it
found. A step draws what it does from the choices in `histories.py`; when those change, the same numbers mean another
history, as good as any but no longer the one that failed.
"""

from __future__ import annotations

# Whole histories, by their seeds.
SEEDS = (100477, 101974, 104687, 107771, 108944)

# Steps of shrunk ones, by what was wrong.
PARTS: dict[str, tuple[int, ...]] = {}
