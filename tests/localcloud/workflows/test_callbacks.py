"""Does whoever calls back reach the execution that waits, and is every call seen?"""

from __future__ import annotations

import json

from tests.localcloud.workflows.served import Served, on_wire


def test_a_callback_wakes_its_execution_and_a_second_one_waits() -> None:
    source = """
main:
  steps:
    - open:
        call: events.create_callback_endpoint
        args: {http_callback_method: POST}
        result: endpoint
    - first:
        call: events.await_callback
        args: {callback: '${endpoint}'}
        result: one
    - pause:
        call: sys.sleep
        args: {seconds: 10}
    - second:
        call: events.await_callback
        args: {callback: '${endpoint}'}
        result: two
    - out:
        return: ['${one.http_request.body.n}', '${two.http_request.body.n}']
"""

    async def scenario(both: Served) -> None:
        name = (await both.client.create_execution(parent=both.cloud.deploy(source))).name
        await both.cloud.until(lambda: bool(both.cloud.workflows.callbacks(name).endpoints()), advance=False)
        _, listed = await both.rest("GET", f"{name}/callbacks")
        endpoint = listed["callbacks"][0]["name"]

        assert (await both.rest("POST", endpoint, json={"n": 1}))[0] == 200
        await both.cloud.until(lambda: both.cloud.workflows.get(name).current == ("main", "pause"), advance=False)
        assert (await both.rest("POST", endpoint, json={"n": 2}))[0] == 200
        assert (await both.rest("POST", endpoint, json={"n": 3}))[0] == 429
        ended = await both.cloud.finished(name)

        assert json.loads(ended.result or "") == [1, 2]
        assert (await both.rest("POST", endpoint, json={"n": 4}))[0] == 404

    on_wire(scenario)


def test_a_callback_endpoint_is_listed_with_who_waits_and_what_came() -> None:
    source = """
- open:
    call: events.create_callback_endpoint
    args: {http_callback_method: PUT}
    result: endpoint
- nap:
    call: sys.sleep
    args: {seconds: 10}
- wait:
    call: events.await_callback
    args: {callback: '${endpoint}'}
"""

    async def scenario(both: Served) -> None:
        name = (await both.client.create_execution(parent=both.cloud.deploy(source))).name
        await both.cloud.until(both.cloud.waits, advance=False)
        _, listed = await both.rest("GET", f"{name}/callbacks")
        endpoint = listed["callbacks"][0]["name"]

        assert (await both.http.post(f"{both.url}/v1/{endpoint}")).status == 405
        _, before = await both.rest("GET", f"{name}/callbacks")
        await both.rest("PUT", endpoint, json={"n": 1})
        _, after = await both.rest("GET", f"{name}/callbacks")

        assert before["callbacks"] == [{"name": endpoint, "method": "PUT", "waiters": "0"}]
        assert json.loads(after["callbacks"][0]["availablePayloads"][0])["http_request"]["body"] == {"n": 1}
        await both.cloud.finished(name)
        assert (await both.rest("GET", f"{name}/callbacks"))[1] == {}

    on_wire(scenario)
