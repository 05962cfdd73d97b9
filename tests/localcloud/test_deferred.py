"""The local cloud starts without Google's clients, and does not keep a program from using them."""

from __future__ import annotations

import subprocess
import sys
import textwrap


def run(program: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_local_cloud_starts_without_clients() -> None:
    loaded = run("""
        import sys
        from localcloud.cloud import CloudConfig, running
        with running(CloudConfig()):
            pass
        clients = [name for name in sys.modules if name.startswith("google.") and ".services" in name]
        print(*clients, *({"requests", "google.auth", "aiohttp.client"} & set(sys.modules)))
    """)

    assert loaded.split() == []


def test_clients_are_imported_after_it_as_ever() -> None:
    printed = run("""
        import localcloud.cloud
        from localcloud.pubsub.resources import TopicResource
        import google.pubsub_v1
        from google.cloud import pubsub_v1, workflows_v1
        from google.cloud.workflows import executions_v1
        print(google.pubsub_v1.PublisherClient.__name__, workflows_v1.WorkflowsClient.__name__)
        print(executions_v1.ExecutionsClient.__name__)
        print(issubclass(pubsub_v1.PublisherClient, google.pubsub_v1.PublisherClient))
        print(google.pubsub_v1.types.Topic.pb() is TopicResource, type(google.pubsub_v1).__name__)
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
