"""The local cloud starts without what only some requests need."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

from localcloud.pubsub import resources
from localcloud.workflows import messages


def run(program: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# What each of these takes is told by `python -X importtime -c 'import localcloud.cloud'`.
HEAVY = (
    "aiohttp", "cryptography", "google.api_core", "google.auth", "google.protobuf", "proto", "requests",
    "yaml", "yarl", "google.pubsub_v1.types.pubsub", "localcloud.workflows.compiler",
    "localcloud.workflows.engine", "localcloud.compute.api", "localcloud.console.api", "localcloud.eventarc.api",
    "localcloud.pubsub.api", "localcloud.run.admin", "localcloud.run.knative", "localcloud.workflows.api",
)  # fmt: skip


def test_a_local_cloud_starts_without_clients_messages_and_engines() -> None:
    loaded = run(f"""
        import sys
        from localcloud.cloud import CloudConfig, running
        with running(CloudConfig()):
            pass
        clients = [name for name in sys.modules if name.startswith("google.") and ".services" in name]
        print(*clients, *({set(HEAVY)!r} & set(sys.modules)))
    """)

    assert loaded.split() == []


def test_a_workflow_that_is_deployed_again_as_it_is_is_not_compiled_again(tmp_path: Path) -> None:
    program = f"""
        import sys
        from pathlib import Path
        from localcloud.cloud import CloudConfig, Deployment, running
        from localcloud.workflows.state import WorkflowSpec
        flow = WorkflowSpec("flow", "main:\\n  steps:\\n    - out:\\n        return: 42\\n")
        with running(CloudConfig(state=Path({str(tmp_path)!r})), lambda _: Deployment(workflows=(flow,))):
            print("localcloud.workflows.compiler" in sys.modules)
    """

    assert [run(program).strip() for _ in range(2)] == ["True", "False"]


def test_what_a_start_does_without_is_there_to_be_imported() -> None:
    run(f"import importlib\nfor name in {HEAVY!r}: importlib.import_module(name)")


def test_numbers_of_enumerations_are_those_of_the_messages() -> None:
    from google.cloud.workflows.executions_v1.types import ExecutionView
    from google.cloud.workflows_v1.types import ExecutionHistoryLevel
    from google.pubsub_v1.types import Encoding, Schema, SchemaView

    assert (resources.BASIC, resources.FULL) == (SchemaView.BASIC, SchemaView.FULL)
    assert (resources.JSON, resources.BINARY) == (Encoding.JSON, Encoding.BINARY)
    assert (resources.AVRO, resources.PROTOBUF) == (Schema.Type.AVRO, Schema.Type.PROTOCOL_BUFFER)
    assert (messages.BASIC, messages.FULL) == (ExecutionView.BASIC, ExecutionView.FULL)
    assert {level.name: level.value for level in ExecutionHistoryLevel} == messages.HISTORY_LEVELS
