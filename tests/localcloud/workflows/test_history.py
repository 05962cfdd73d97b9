"""Which steps has an execution taken, as its step entries tell?"""

from __future__ import annotations

import json
from typing import Any

import pytest

from localcloud.workflows import history
from tests.localcloud.workflows.served import SLEEPER, Served, on_wire

SOURCE = """
main:
  steps:
    - loop:
        for:
          value: v
          in: [1, 2]
          steps:
            - add:
                assign: [{x: '${v}'}]
    - call:
        call: sub
    - attempt:
        try:
          raise: bad
        except:
          as: e
          steps:
            - nap:
                call: sys.sleep
                args: {seconds: 5}
    - out:
        return: 1
sub:
  steps:
    - inside:
        next: end
"""


async def entries(both: Served, source: str, query: str = "", **body: Any) -> tuple[str, list[dict[str, Any]]]:
    """The execution's name, and its step entries once it has ended."""
    _, created = await both.rest("POST", f"{both.cloud.deploy(source)}/executions", json=body)
    await both.cloud.finished(created["name"])
    return created["name"], (await both.rest("GET", f"{created['name']}/stepEntries{query}"))[1].get("stepEntries", [])


def test_entries_tell_steps_with_their_places_and_ends() -> None:
    async def scenario(both: Served) -> None:
        name, found = await entries(both, SOURCE)

        assert [
            (each["entryId"], each["routine"], each["step"], each["stepType"], each["state"]) for each in found
        ] == [
            ("1", "main", "loop", "STEP_FOR", "STATE_SUCCEEDED"),
            ("2", "main", "loop", "STEP_FOR_ITERATION", "STATE_SUCCEEDED"),
            ("3", "main", "add", "STEP_ASSIGN", "STATE_SUCCEEDED"),
            ("4", "main", "loop", "STEP_FOR_ITERATION", "STATE_SUCCEEDED"),
            ("5", "main", "add", "STEP_ASSIGN", "STATE_SUCCEEDED"),
            ("6", "main", "call", "STEP_SUBWORKFLOW_CALL", "STATE_SUCCEEDED"),
            ("7", "sub", "inside", "STEP_GOTO", "STATE_SUCCEEDED"),
            ("8", "main", "attempt", "STEP_TRY_RETRY_EXCEPT", "STATE_SUCCEEDED"),
            ("9", "main", "attempt", "STEP_TRY", "STATE_FAILED"),
            ("10", "main", "attempt", "STEP_RAISE", "STATE_FAILED"),
            ("11", "main", "attempt", "STEP_EXCEPT", "STATE_SUCCEEDED"),
            ("12", "main", "nap", "STEP_STD_LIB_CALL", "STATE_SUCCEEDED"),
            ("13", "main", "out", "STEP_RETURN", "STATE_SUCCEEDED"),
        ]
        assert found[0]["name"] == f"{name}/stepEntries/1"
        assert found[0]["navigationInfo"] == {"next": "6", "children": ["2", "4"]}
        assert found[3]["navigationInfo"] == {"parent": "1", "previous": "2", "children": ["5"]}
        assert found[3]["stepEntryMetadata"] == {"progressType": "PROGRESS_TYPE_FOR", "progressNumber": "2"}
        assert json.loads(found[9]["exception"]["payload"]) == "bad"
        assert found[11]["createTime"][:19] == "2023-11-14T22:13:20"
        assert found[11]["updateTime"][:19] == "2023-11-14T22:13:25"
        assert (await both.rest("GET", f"{name}/stepEntries/12"))[1] == found[11]
        assert (await both.rest("GET", f"{name}/stepEntries/14"))[0] == 404

    on_wire(scenario)


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("filter=state%3D%22FAILED%22", ["9", "10"]),
        ("filter=stepType%3DSTEP_ASSIGN%20AND%20parent%3D4", ["5"]),
        ("filter=routine%3Dsub%20OR%20step%3Dout", ["7", "13"]),
        ("orderBy=entryId%20desc&pageSize=2", ["13", "12"]),
        ("skip=11", ["12", "13"]),
        ("filter=createTime%3E%222023-11-14T22%3A13%3A22Z%22", ["13"]),
    ],
)
def test_entries_are_filtered_ordered_and_skipped(query: str, numbers: list[str]) -> None:
    async def scenario(both: Served) -> None:
        _, found = await entries(both, SOURCE, f"?{query}")

        assert [each["entryId"] for each in found] == numbers

    on_wire(scenario)


def test_a_page_goes_on_where_the_one_before_ended() -> None:
    async def scenario(both: Served) -> None:
        name, _ = await entries(both, SOURCE)
        _, first = await both.rest("GET", f"{name}/stepEntries?pageSize=10")
        _, second = await both.rest("GET", f"{name}/stepEntries?pageSize=10&pageToken={first['nextPageToken']}")

        assert first["totalSize"] == 13
        assert [each["entryId"] for each in second["stepEntries"]] == ["11", "12", "13"]
        assert "nextPageToken" not in second

    on_wire(scenario)


def test_the_detailed_level_tells_how_many_iterations_are_expected() -> None:
    async def scenario(both: Served) -> None:
        _, found = await entries(both, SOURCE, executionHistoryLevel="EXECUTION_HISTORY_DETAILED")

        assert found[1]["stepEntryMetadata"]["expectedIteration"] == "2"

    on_wire(scenario)


def test_entries_can_be_read_while_it_runs_and_are_cancelled_with_it() -> None:
    async def scenario(both: Served) -> None:
        name = (await both.client.create_execution(parent=both.cloud.deploy(SLEEPER))).name
        await both.cloud.until(both.cloud.waits, advance=False)

        _, running = await both.rest("GET", f"{name}/stepEntries")
        await both.client.cancel_execution(name=name)
        _, cancelled = await both.rest("GET", f"{name}/stepEntries")

        assert [each["state"] for each in running["stepEntries"]] == ["STATE_IN_PROGRESS"]
        assert [each["state"] for each in cancelled["stepEntries"]] == ["STATE_CANCELLED"]

    on_wire(scenario)


def test_a_long_history_is_cut_and_large_errors_are_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_ENTRIES", 5)
    big = "- s:\n    raise: {tags: [Big], text: '" + "x" * 20_000 + "'}\n"

    async def scenario(both: Served) -> None:
        assert len((await entries(both, SOURCE))[1]) == 5
        payload = json.loads((await entries(both, big))[1][0]["exception"]["payload"])
        assert payload["tags"] == ["Big"]
        assert len(payload["message"]) <= history.MAX_PAYLOAD

    on_wire(scenario)


def test_the_history_is_exported_and_deleted() -> None:
    async def scenario(both: Served) -> None:
        name, found = await entries(both, SOURCE)

        exported = json.loads((await both.rest("GET", f"{name}:exportData"))[1]["data"])
        assert exported["execution"]["name"] == name
        assert exported["stepEntries"] == found
        assert (await both.rest("POST", f"{name}:deleteExecutionHistory"))[0] == 200
        assert (await both.rest("GET", f"{name}/stepEntries"))[1] == {}
        running = (await both.client.create_execution(parent=both.cloud.deploy(SLEEPER))).name
        assert (await both.rest("POST", f"{running}:deleteExecutionHistory"))[0] == 400

    on_wire(scenario)
