"""What does a running local cloud say of itself, and how is it steered? JSON under `/_localcloud/`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

from zeroidle.errors import PermanentError

PATIENCE_S = 5.0


def state_at(url: str) -> Path | None:
    """The state directory of the local cloud at `url`, or None if none answers there."""
    try:
        return Path(ask(url, "health")["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def ask(url: str, what: str, method: str = "GET", body: object = None) -> Any:
    """The answer of the local cloud at `url`.

    Raises:
        PermanentError: INVALID_REQUEST, it refuses the request and says why.
        OSError, ValueError: no local cloud answers there.
    """
    import urllib.request  # a tenth of a start, which commands that ask nothing are spared

    address = url if url.startswith(("http://", "https://")) else f"http://{url}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{address.rstrip('/')}/_localcloud/{what}", data=data, method=method)  # noqa: S310  # http or https, see above
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:  # noqa: S310  # as above
            return json.load(answer)
    except HTTPError as error:
        if error.code != 400:
            raise
        raise PermanentError(json.load(error)["error"]["message"], code="INVALID_REQUEST") from error
