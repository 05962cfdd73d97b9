"""Do branches and iterations run at the same time, as many as allowed, and tell together how they failed?"""

from __future__ import annotations

import textwrap

from tests.localcloud.workflows.workflows_cloud import Cloud, error_of, on_cloud, result_of, steps


def test_parallel_steps_nest_two_deep() -> None:
    text = "- p:\n    parallel:\n      for:\n        value: v#\n        in: [1]\n        steps:\n"
    nested = ""
    for depth in range(3):
        nested += textwrap.indent(text.replace("- p:", f"- p{depth}:").replace("#", str(depth)), " " * 10 * depth)
    nested += " " * 30 + "- a:\n" + " " * 34 + "assign: [{x: 1}]\n"

    payload = error_of(nested)

    assert "UnhandledBranchError" in payload["tags"]
    assert "ParallelNestingError" in str(payload)


def test_an_unhandled_branch_error_lists_the_branches_in_order() -> None:
    payload = error_of(
        """
        - p:
            parallel:
              for:
                value: v
                range: [10, 13]
                steps:
                  - checkEven:
                      switch:
                        - condition: ${v % 2 != 0}
                          raise: "how odd!"
        """
    )

    assert payload == {
        "message": "UnhandledBranchError: One or more branches or iterations encountered an unhandled runtime error",
        "tags": ["UnhandledBranchError", "RuntimeError"],
        "branches": [
            {
                "id": name,
                "error": {
                    "context": 'RuntimeError: "how odd!"\nin step "checkEven", routine "main", line: 13',
                    "payload": '"how odd!"',
                },
            }
            for name in ("1", "3")
        ],
        "truncated": False,
    }


def test_concurrency_limit_bounds_what_runs_at_a_time() -> None:
    async def elapsed(cloud: Cloud, limit: int) -> float:
        started = cloud.clock.time()
        await cloud.result(
            steps(
                f"""
                - p:
                    parallel:
                      concurrency_limit: {limit}
                      for:
                        value: v
                        range: [1, 6]
                        steps:
                          - nap:
                              call: sys.sleep
                              args: {{seconds: 10}}
                """
            )
        )
        return cloud.clock.time() - started

    assert on_cloud(lambda cloud: elapsed(cloud, 2)) == 30
    assert on_cloud(lambda cloud: elapsed(cloud, 6)) == 10


def test_assignments_of_branches_that_wait_do_not_lose_updates() -> None:
    sub = (
        "slow:\n  params: [x]\n  steps:\n    - nap:\n        call: sys.sleep\n"
        "        args: {seconds: 1}\n    - out:\n        return: ${x}\n"
    )
    text = """
    - init:
        assign: [{n: 0}]
    - p:
        parallel:
          shared: [n]
          for:
            value: v
            in: [1, 2, 3]
            steps:
              - add:
                  assign: [{n: '${n + slow(v)}'}]
              - plain:
                  assign: [{n: '${n + 10}'}]
    - out:
        return: ${n}
    """
    assert result_of(text, sub) == 36
