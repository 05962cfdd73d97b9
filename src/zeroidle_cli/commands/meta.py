"""zeroidle meta: what did a job, or its services, report to be kept?"""

from __future__ import annotations

import json
from typing import Any

from rich.table import Table

from zeroidle_cli import project
from zeroidle_cli.connection import connect
from zeroidle_cli.ledger import Ledger
from zeroidle_cli.options import JobArgument, JsonOption, StateOption
from zeroidle_cli.output import Column, err, moment, out, print_json, table


def meta(job_id: JobArgument, state: StateOption = None, as_json: JsonOption = False) -> None:
    """List the reports on a job that stand in the ledger, oldest first.

    A job on a machine reports by appending JSON lines like {"operation": "weights", "data": {"files": 3}} to the file
    named in ZEROIDLE_META.
    """
    with connect(project.find(), state) as connection:
        ledger = Ledger(connection)
        job = ledger.get(job_id)
        reports = list(ledger.reports(job.job_id))
    if as_json:
        print_json({"job_id": job.job_id, "reports": reports})
    elif reports:
        out.print(reports_table(reports))
    else:
        err.print(f"No reports on {job.job_id}.")


def reports_table(reports: list[dict[str, Any]]) -> Table:
    """A line for each report, its data as JSON."""
    columns = [Column("WHEN"), Column("ATTEMPT", right=True), Column("SENDER"), Column("OPERATION")]
    rows = [
        [
            moment(report["created_at"]),
            str(report["attempt"]),
            str(report["sender"]),
            str(report["operation"]),
            json.dumps(report["data"], ensure_ascii=False),
        ]
        for report in reports
    ]
    return table([*columns, Column("DATA", long=True)], rows)
