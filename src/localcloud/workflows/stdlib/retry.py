"""`retry`: predicates and a backoff for retry policies. https://cloud.google.com/workflows/docs/reference/stdlib/retry/always"""

from __future__ import annotations

from localcloud.workflows import retries
from localcloud.workflows.functions import constant, predicate

predicate(retries.ALWAYS, retries.PREDICATES[retries.ALWAYS.name])
predicate(retries.NEVER, retries.PREDICATES[retries.NEVER.name])
constant("retry.default_backoff", retries.DEFAULT_BACKOFF)
