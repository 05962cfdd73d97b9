"""Does a function under functions-framework run as a service?"""

from __future__ import annotations

import sys
import textwrap


def test_a_function_of_functions_framework_answers(bench):
    (bench.files / "main.py").write_text(
        textwrap.dedent("""
            import os
            import functions_framework

            @functions_framework.cloud_event
            def handle(event):
                print(f"{os.environ['K_SERVICE']} got {event['type']} of {event.data['name']}", flush=True)
        """)
    )
    bench.deploy()
    spec = bench.run.service("echo").spec
    command = (sys.executable, "-m", "functions_framework", "--target", "handle", "--signature-type", "cloudevent")
    bench.call(bench.run.deploy, type(spec)("on-upload", command, cwd=bench.files, public=True))

    answer = bench.get(
        service="on-upload",
        method="POST",
        headers={
            "ce-id": "1",
            "ce-source": "//storage.googleapis.com/projects/_/buckets/b",
            "ce-specversion": "1.0",
            "ce-type": "google.cloud.storage.object.v1.finalized",
            "content-type": "application/json",
        },
        body=b'{"bucket": "b", "name": "x.txt"}',
    )

    log = (bench.run.logs_directory / "on-upload.jsonl").read_text()
    assert answer.status == 200
    assert "on-upload got google.cloud.storage.object.v1.finalized of x.txt" in log
