"""Which revision of a service takes a request? Rules without processes.

https://cloud.google.com/run/docs/rollouts-rollbacks-traffic-migration
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

from localcloud.run.errors import InvalidArgument

SEPARATOR = "---"  # between a tag and the name of its service, in their address
_TAG = re.compile(r"[a-z]([-a-z0-9]{0,44}[a-z0-9])?")


class Target(msgspec.Struct, frozen=True):
    """A share of the requests, an address of its own by a tag, or both. An empty `revision` is the latest."""

    revision: str = ""
    percent: int = 0
    tag: str = ""


LATEST = (Target(percent=100),)  # what holds where nothing is said


def checked(targets: Iterable[Target], revisions: Collection[str]) -> list[Target]:
    """`targets` of a service that has these revisions; none where they say what holds anyway.

    Raises:
        InvalidArgument: naming the target that is wrong.
    """
    found = list(targets) or list(LATEST)
    tags: set[str] = set()
    for at, target in enumerate(found):
        if target.revision and target.revision not in revisions:
            known = ", ".join(sorted(revisions)[-5:]) or "none yet"
            raise InvalidArgument(f"traffic[{at}].revision is {target.revision!r:.80}; expected one of: {known}")
        if not 0 <= target.percent <= 100:
            raise InvalidArgument(f"traffic[{at}].percent is {target.percent}; expected 0 to 100")
        if target.tag and (SEPARATOR in target.tag or not _TAG.fullmatch(target.tag)):
            raise InvalidArgument(f"traffic[{at}].tag is {target.tag!r:.80}; expected {_TAG.pattern} without ---")
        if target.tag in tags:
            raise InvalidArgument(f"traffic[{at}].tag is {target.tag!r} once more; expected one target a tag")
        tags |= {target.tag} - {""}
    total = sum(target.percent for target in found)
    if total != 100:
        raise InvalidArgument(f"traffic has percents that sum to {total}; expected 100")
    return [] if found == [*LATEST] else found


def shares(targets: Sequence[Target], latest: str) -> dict[str, int]:
    """The percent of each revision that is to serve; 0 for one that only a tag leads to."""
    result: dict[str, int] = {}
    for target in targets or LATEST:
        name = target.revision or latest
        if target.percent or target.tag:
            result[name] = result.get(name, 0) + target.percent
    return result


def tagged(targets: Sequence[Target], tag: str, latest: str) -> str | None:
    """The revision that a tag leads to, if there is such a tag."""
    return next((target.revision or latest for target in targets if target.tag == tag), None)


def take_turn(percents: Mapping[str, int], credit: dict[str, int]) -> str:
    """Whose turn it is. Of a hundred requests each gets its percent, spread evenly over them.

    `credit` is what each has in hand, and is changed; it begins empty.
    """
    for name, percent in percents.items():
        credit[name] = credit.get(name, 0) + percent
    chosen = max(percents, key=lambda name: credit[name])
    credit[chosen] -= 100
    return chosen
