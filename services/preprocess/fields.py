"""Which field holds the text, which the id, which the label?

Names given in the options are taken; the others are guessed from the first records, and the guess says why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from zeroidle.contracts.services import InputOptions
from zeroidle.errors import PermanentError, printable

# In order of preference.
TEXT_NAMES = (
    "text", "review", "sentence", "content", "body", "message", "comment", "tweet", "post", "document", "question",
    "description", "prompt", "title",
)  # fmt: skip
ID_NAMES = ("id", "uuid", "key")
LABEL_NAMES = ("label", "sentiment", "class", "target")
LISTED_FIELDS = 50  # of the names in an error message


@dataclass(frozen=True, slots=True)
class Fields:
    """The choice. `text` is None where the format has no fields; `reason` says in words how it came about."""

    names: list[str] = field(default_factory=list)
    text: str | None = None
    text_guessed: bool = False
    reason: str = ""
    id: str | None = None
    label: str | None = None


def choose_fields(records: Sequence[Mapping[str, object]], options: InputOptions) -> Fields:
    """Choose among the fields of the first `records`.

    Raises:
        PermanentError: MISSING_FIELD, a field named in the options is in none of them; NO_TEXT_FIELD, none holds text;
            INVALID_OPTIONS, one field is named for two uses.
    """
    names = list(dict.fromkeys(name for record in records for name in record))
    for option in ("text_field", "id_field", "label_field"):
        _require(getattr(options, option), option, names)
    if options.text_field is not None:
        text, reason = options.text_field, "named in the options"
    else:
        text, reason = _guess_text(records, names)
    id_ = options.id_field or _guess_named(ID_NAMES, records, names, text)
    label = options.label_field or _guess_named(LABEL_NAMES, records, names, text)
    used = [name for name in (text, id_, label) if name is not None]
    if len(set(used)) < len(used):
        raise PermanentError(
            f"one field is named for two uses: text {text!r}, id {id_!r}, label {label!r}",
            code="INVALID_OPTIONS",
            hint="Name three different fields.",
        )
    return Fields(names=names, text=text, text_guessed=options.text_field is None, reason=reason, id=id_, label=label)


def _require(name: str | None, option: str, names: list[str]) -> None:
    # With no readable record to look at, the reader finds out itself, with a reason a record.
    if name is None or not names or name in names:
        return
    there = ", ".join(printable(known) for known in names[:LISTED_FIELDS])
    raise PermanentError(
        f"{option} is {printable(name)!r}, but the input has no such field; it has: {there}",
        code="MISSING_FIELD",
        hint=f"Set options.{option} to one of these, or leave it out.",
        details={"fields": names[:LISTED_FIELDS]},
    )


def _guess_text(records: Sequence[Mapping[str, object]], names: list[str]) -> tuple[str, str]:
    if not names:
        return TEXT_NAMES[0], "no record at the head of the file is readable"
    lengths = {name: _mean_length(records, name) for name in names}
    by_name = {name.strip().casefold(): name for name in reversed(names)}
    usual = [by_name[name] for name in TEXT_NAMES if name in by_name]
    for name in usual:
        if lengths[name]:
            return name, f"{printable(name)!r} is a usual name for the text"
    longest = max(names, key=lambda name: lengths[name] or 0)
    if lengths[longest]:
        return longest, f"no usual name; its strings are the longest, {lengths[longest]:.0f} characters on average"
    # Nothing but empty strings, or nothing at all: the records will say so one by one.
    empty = usual or [name for name in names if lengths[name] is not None]
    if empty:
        return empty[0], "all fields are empty at the head of the file"
    raise PermanentError(
        f"no field holds text; the fields are: {', '.join(printable(name) for name in names[:LISTED_FIELDS])}",
        code="NO_TEXT_FIELD",
        hint='Give every record a field with its text, such as {"text": "..."}.',
        details={"fields": names[:LISTED_FIELDS]},
    )


def _guess_named(
    usual: Sequence[str], records: Sequence[Mapping[str, object]], names: list[str], taken: str
) -> str | None:
    for name in names:
        plain = all(isinstance(record.get(name), str | int | float | None) for record in records)
        if name.strip().casefold() in usual and name != taken and plain:
            return name
    return None


def _mean_length(records: Sequence[Mapping[str, object]], name: str) -> float | None:
    """Characters a record on average, None if the field is never a string."""
    lengths = [len(value.strip()) for record in records if isinstance(value := record.get(name), str)]
    return sum(lengths) / len(records) if lengths else None
