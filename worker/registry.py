#!/usr/bin/env python3
"""How does Docker on a VM pull a private image? With the VM's own account, whose tokens its metadata server gives.

Docker's command line asks it, installed as `docker-credential-zeroidle`, with the verb `get` and the name of a registry
on standard input. It knows Artifact Registry and Container Registry; elsewhere Docker goes on without.
https://github.com/docker/docker-credential-helpers#development
"""

from __future__ import annotations

import json
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

GOOGLES = re.compile(r"(https://)?([a-z0-9-]+-docker\.pkg\.dev|([a-z]+\.)?gcr\.io)(/.*)?")
# By this text Docker knows that there is nothing wrong.
UNKNOWN = "credentials not found in native keychain"
TIMEOUT_S = 10.0


def login(registry: str, env: Mapping[str, str]) -> dict[str, str]:
    """User and secret for a registry. Raises LookupError for one that is not Google's, OSError without an answer."""
    if not GOOGLES.fullmatch(registry):
        raise LookupError(UNKNOWN)
    host = env.get("GCE_METADATA_HOST") or "metadata.google.internal"
    request = urllib.request.Request(  # http
        f"http://{host}/computeMetadata/v1/instance/service-accounts/default/token",
        headers={"Metadata-Flavor": "Google"},
    )
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=TIMEOUT_S) as answer:
        token = json.load(answer)["access_token"]
    return {"ServerURL": registry, "Username": "oauth2accesstoken", "Secret": token}


def main(verb: str) -> int:
    """Answer one question of Docker; others than `get` have no answer here."""
    if verb != "get":
        print("only `get` is answered", end="")  # noqa: T201  # the protocol
        return 1
    try:
        print(json.dumps(login(sys.stdin.read().strip(), os.environ)))  # noqa: T201  # the protocol
    except (LookupError, OSError, ValueError) as error:
        print(str(error).strip("'"), end="")  # noqa: T201  # the protocol
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or [""]))
