"""`uuid`. https://cloud.google.com/workflows/docs/reference/stdlib/uuid/generate"""

from __future__ import annotations

from localcloud.workflows.functions import local
from localcloud.workflows.thread import Thread
from localcloud.workflows.values import Value


@local("uuid.generate")
def _generate(thread: Thread) -> Value:
    return thread.once("uuid.generate", thread.run.new_id)
