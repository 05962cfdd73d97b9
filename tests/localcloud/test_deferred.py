"""The local cloud starts without Google's clients, and does not keep a program from using them."""

from __future__ import annotations

import subprocess
import sys
import textwrap

from localcloud.pubsub import resources
from localcloud.workflows import messages


def run(program: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


# What each of these takes is told by `python -X importtime -c 'import localcloud.cloud'`.
HEAVY = (
    "aiohttp.client", "click", "cryptography", "google.api_core", "google.auth", "google.protobuf", "proto", "requests",
    "uvicorn.main", "yaml", "yarl", "google.pubsub_v1.types.pubsub", "localcloud.workflows.compiler",
    "localcloud.workflows.engine",
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


def test_clients_are_imported_after_it_as_ever() -> None:
    printed = run("""
        import localcloud.cloud
        from localcloud.pubsub.resources import message_type
        import google.pubsub_v1
        from google.cloud import pubsub_v1, workflows_v1
        from google.cloud.workflows import executions_v1
        print(google.pubsub_v1.PublisherClient.__name__, workflows_v1.WorkflowsClient.__name__)
        print(executions_v1.ExecutionsClient.__name__)
        print(issubclass(pubsub_v1.PublisherClient, google.pubsub_v1.PublisherClient))
        print(google.pubsub_v1.types.Topic.pb() is message_type("Topic"), type(google.pubsub_v1).__name__)
    """)

    assert printed.split() == ["PublisherClient", "WorkflowsClient", "ExecutionsClient", "True", "True", "module"]


def test_the_transports_of_a_client_are_found_before_the_client() -> None:
    printed = run("""
        import localcloud.cloud
        from google.cloud.workflows import executions_v1
        print(executions_v1.services.executions.transports.ExecutionsGrpcTransport.__name__)
    """)

    assert printed.split() == ["ExecutionsGrpcTransport"]


def test_the_transports_of_a_client_are_imported_before_the_client() -> None:
    printed = run("""
        import localcloud.cloud
        from google.cloud.workflows.executions_v1.services.executions.transports import ExecutionsGrpcTransport
        print(ExecutionsGrpcTransport.__name__)
    """)

    assert printed.split() == ["ExecutionsGrpcTransport"]


def test_what_is_not_in_a_package_is_missing_as_ever() -> None:
    printed = run("""
        import localcloud.cloud, google.pubsub_v1
        try:
            google.pubsub_v1.nonsense
        except AttributeError as error:
            print(error)
        try:
            from google.pubsub_v1 import nonsense
        except ImportError as error:
            print("refused")
    """)

    assert printed.splitlines() == ["module 'google.pubsub_v1' has no attribute 'nonsense'", "refused"]


def test_threads_that_ask_at_once_get_the_same_package() -> None:
    printed = run("""
        import threading, localcloud.cloud, google.pubsub_v1
        found, start = [], threading.Barrier(8)
        def ask():
            start.wait()
            found.append(google.pubsub_v1.SubscriberClient)
        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(len(found), len(set(found)))
    """)

    assert printed.split() == ["8", "1"]
