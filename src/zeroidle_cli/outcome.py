"""What became of a file? Its job's end, the counts, a few predictions and where the rest is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from zeroidle.contracts.records import Job
from zeroidle_cli.connection import Connection
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.output import STATE_STYLES, Column, duration, escape, out, state_text, table, usd
from zeroidle_cli.samples import sample
from zeroidle_cli.uploads import Upload

SAMPLE_ROWS = 4
LONG_CELLS = ("text", "entities")


def document(connection: Connection, item: Upload, job: Job | None) -> dict[str, Any]:
    """All of it for programs."""
    ledger = Ledger(connection)
    folder = ledger.result_folder(job) if job else None
    return {
        "file": str(item.path),
        "job_id": item.job_id,
        "input": item.ref,
        "state": job.state if job else None,
        "reason": job.reason if job else None,
        "failure": job.failure if job else None,
        "result": f"gs://{folder.bucket}/{folder.prefix}/" if folder else None,
        "summary": ledger.summary(job) if job else None,
    }


def show(connection: Connection, item: Upload, job: Job) -> None:
    """All of it for people."""
    ledger = Ledger(connection)
    style = STATE_STYLES[job.state.value]
    out.print(f"\n[bold]{escape(item.path.name)}[/]  [{style}]{job.state.value}[/]  [dim]{escape(job.job_id)}[/]")
    summary = ledger.summary(job)
    if summary is not None:
        for line in summary_lines(summary):
            out.print(f"  {escape(line)}")
        _show_sample(connection, job)
    if job.failure is not None:
        out.print(f"  {escape(job.failure.code)}: {escape(job.failure.message)}", soft_wrap=True)
        if job.failure.hint:
            out.print(f"  {escape(job.failure.hint)}", soft_wrap=True)
    folder = ledger.result_folder(job)
    if folder is not None:
        out.print(f"  gs://{folder.bucket}/{escape(folder.prefix)}/", soft_wrap=True)
    words = ("results", job.job_id, "--open") if job.result else ("logs", job.job_id)
    out.print(f"  [dim]{escape(connection.command(*words))}[/]", soft_wrap=True)


def overview(pairs: Sequence[tuple[Upload, Job]]) -> Table:
    """A line for each of many files."""
    columns = [Column("JOB"), Column("FILE", long=True), Column("STATE"), Column("RECORDS", right=True)]
    rows: list[list[str | Text]] = []
    for item, job in pairs:
        records = f"{job.result.records:,}" if job.result else ""
        labels = job.result.labels if job.result else {}
        told = job.failure.code if job.failure else ", ".join(f"{label} {count:,}" for label, count in labels.items())
        rows.append([job.job_id, item.path.name, state_text(job.state.value), records, told])
    return table([*columns, Column("LABELS OR REASON", long=True)], rows)


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """What `summary.json` says, in a few short lines."""
    facts = [f"{summary['records']:,} record{'' if summary['records'] == 1 else 's'}"]
    if summary["rejected"]:
        facts.append(f"{summary['rejected']:,} set aside")
    if summary["accuracy"]:
        facts.append(f"accuracy {summary['accuracy']['accuracy']:.1%} of {summary['accuracy']['labelled']:,} labelled")
    facts.append(f"about {usd(summary['usd'])} in the cloud")
    lines = [" · ".join(facts)]
    total = max(1, sum(summary["labels"].values()))
    counts = [f"{label} {count:,} ({count / total:.0%})" for label, count in summary["labels"].items()]
    if counts:
        lines.append(", ".join(counts))
    lines.append(" · ".join(f"{stage['name']} {duration(stage['elapsed_s'])}" for stage in summary["stages"]))
    field = summary["input"]["text_field"]
    if summary["input"]["text_field_guessed"]:
        lines.append(f"text taken from {field!r} (guessed; --text-field names another)")
    return lines


def _show_sample(connection: Connection, job: Job) -> None:
    rows = sample(connection, job, SAMPLE_ROWS)
    if not rows:
        return
    columns = [Column(name, long=name in LONG_CELLS, right=name in ("line", "score")) for name in rows[0]]
    out.print(Padding(table(columns, [list(row.values()) for row in rows]), (0, 0, 0, 2), expand=False))
