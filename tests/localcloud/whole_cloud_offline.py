"""Run by test_loopback.py in a network of its own that has only the loopback interface: a whole local cloud at work.

Prints as JSON what came of it, what listens, and how many packets had nowhere to go.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import shutil
import socket
import struct
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_LISTENING, _UNCONNECTED = "0A", "07"

# Asks the metadata server of whatever it runs on for its own name.
ASKER = """
import os, pathlib, urllib.request
def ask(path):
    url = "http://" + os.environ["GCE_METADATA_HOST"] + "/computeMetadata/v1/" + path
    asked = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    return urllib.request.urlopen(asked).read().decode()
def tell(name):
    pathlib.Path(os.environ["SEEN"], name).touch()
"""
RECEIVER = (
    ASKER
    + """
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        tell(self.headers["ce-type"])
        if ask("instance/service-accounts/default/identity?audience=anybody").count(".") == 2:
            tell("token of a service")
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args): pass
HTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Handler).serve_forever()
"""
)
TASK = ASKER + "tell('task in ' + ask('project/project-id'))"
MACHINE = ASKER + "tell('vm ' + ask('instance/name'))\nimport time\ntime.sleep(600)"
CALLER = """
main:
  params: [args]
  steps:
    - call: {call: http.get, args: {url: "${args.url}", auth: {type: OIDC}}, result: answer}
    - end: {return: "${answer.code}"}
"""


def main() -> None:
    """Do everything, then tell."""
    _start_loopback()
    if "--escape" in sys.argv:  # what the test would see of a program that talks to the outside
        _escape()
        sys.stdout.write(json.dumps({"lost": _lost()}))
        return
    with tempfile.TemporaryDirectory() as seen:
        sys.stdout.write(json.dumps({"results": _work(Path(seen)), "listening": LISTENING, "lost": _lost()}))


LISTENING: list[str] = []


def _work(seen: Path) -> dict[str, Any]:
    from google.cloud import pubsub_v1, storage
    from google.cloud.workflows import executions_v1

    from localcloud.cloud import CloudConfig, Deployment, running
    from localcloud.compute.state import ComputeSpec, GroupSpec, TemplateSpec
    from localcloud.eventarc.state import Trigger
    from localcloud.pubsub.resources import SubscriptionSpec
    from localcloud.pytest_plugin import LocalCloudOfATest
    from localcloud.run.jobs import JobSpec
    from localcloud.run.state import ServiceSpec
    from localcloud.workflows.state import WorkflowSpec

    finalized, python = "google.cloud.storage.object.v1.finalized", (sys.executable, "-S", "-c")
    env = {"SEEN": str(seen)}
    script = f"#!{sys.executable} -S\n{MACHINE}"
    worker = {"machineType": "e2-small", "metadata": {"items": [{"key": "startup-script", "value": script}]}}
    official = "--official" in sys.argv
    deployment = Deployment(
        buckets=("uploads",),
        topics=("news",),
        subscriptions=(SubscriptionSpec("reader", "news"),),
        services=(ServiceSpec("receiver", (*python, RECEIVER), env=env, cwd=seen),),
        jobs=(JobSpec("task", (*python, TASK), env=env, cwd=seen),),
        triggers=(Trigger("on-upload", finalized, {"bucket": "uploads"}, "receiver"),),
        workflows=(WorkflowSpec("caller", CALLER),),
        compute=ComputeSpec(
            (TemplateSpec("worker", worker),), (GroupSpec("workers", "us-central1", "worker"),), env=env
        ),
    )
    with running(CloudConfig(official_pubsub=official), lambda _: deployment) as cloud:
        os.environ.update({**cloud.environment(), **cloud.gcloud_environment()})
        local = LocalCloudOfATest(cloud)
        page = _look(cloud.http_url)
        cloud.call(lambda: cloud.compute.resize(cloud.compute.group("us-central1", "workers"), 1))
        cloud.call(cloud.run.jobs.run, "task")
        storage.Client().bucket("uploads").blob("a").upload_from_string(b"x")
        publisher, subscriber = pubsub_v1.PublisherClient(), pubsub_v1.SubscriberClient()
        reader = "projects/local/subscriptions/reader"
        if official:  # it has the topics of the deployment, and not its subscriptions
            subscriber.create_subscription(name=reader, topic="projects/local/topics/news")
        publisher.publish("projects/local/topics/news", b"x").result(30)
        pulled = subscriber.pull(subscription=reader, max_messages=1)
        subscriber.acknowledge(subscription=reader, ack_ids=[each.ack_id for each in pulled.received_messages])
        execution = local.client(executions_v1.ExecutionsClient).create_execution(
            parent="projects/local/locations/us-central1/workflows/caller",
            execution={"argument": json.dumps({"url": f"{cloud.http_url}/storage/v1/b/uploads"})},
        )
        while not (cloud.is_idle() and any(path.name.startswith("vm ") for path in seen.iterdir())):
            time.sleep(0.02)
        LISTENING.extend(_sockets())
        return {
            "seen": sorted(path.name.partition("workers-")[0] for path in seen.iterdir()),
            "page": page,
            "pulled": len(pulled.received_messages),
            "workflow": local.client(executions_v1.ExecutionsClient).get_execution(name=execution.name).result,
            "gcloud": _gcloud(),
        }


def _look(http_url: str) -> list[int]:
    """What the page, its script and its stream of events answer."""
    import urllib3

    addresses = ("/", "/_localcloud/console/static/app.js", "/_localcloud/console/events")
    with urllib3.PoolManager() as pool:
        answers = [pool.request("GET", http_url + each, preload_content=False) for each in addresses]
        for answer in answers:
            answer.close()
        return [answer.status for answer in answers]


def _gcloud() -> str | None:
    import subprocess

    gcloud = shutil.which("gcloud")
    if gcloud is None:
        return None
    return subprocess.run([gcloud, "storage", "ls"], capture_output=True, text=True, timeout=120).stdout.strip()


def _start_loopback() -> None:
    """Switch the loopback interface on: a new network has it, switched off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        (flags,) = struct.unpack("16xH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def _escape() -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as outward:
            outward.connect_ex(("192.0.2.1", 53))


def _sockets() -> list[str]:
    """The address of every socket that takes connections or datagrams, of all processes in this network."""
    found = []
    for kind in ("tcp", "tcp6", "udp", "udp6"):
        for line in Path("/proc/net", kind).read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == (_LISTENING if kind.startswith("tcp") else _UNCONNECTED):
                digits = bytes.fromhex(local.partition(":")[0])
                words = b"".join(digits[i : i + 4][::-1] for i in range(0, len(digits), 4))  # each in this byte order
                address = ipaddress.ip_address(words)
                found.append(str(getattr(address, "ipv4_mapped", None) or address))  # gRPC's are of IPv6
    return found


def _lost() -> int:
    """How many packets had no route, and so were for somewhere else: https://docs.kernel.org/networking/snmp_counter.html"""
    lines = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Ip:")]
    four = int(dict(zip(*lines, strict=True))["OutNoRoutes"])
    six = [line.split()[1] for line in Path("/proc/net/snmp6").read_text().splitlines() if "Ip6OutNoRoutes" in line]
    return four + sum(map(int, six))


if __name__ == "__main__":
    main()
