"""Google's standard library of workflows: one module a namespace. Importing this declares all of it.

https://cloud.google.com/workflows/docs/reference/stdlib/overview
"""

from importlib import import_module

from localcloud.workflows.functions import FUNCTIONS as FUNCTIONS

NAMESPACES = (
    "base64", "events", "executions", "hash", "helpers", "http", "json", "list", "map", "math", "retry", "sys", "text",
    "time", "uuid",
)  # fmt: skip

for _namespace in NAMESPACES:  # by name, since some of them are those of Python's own functions
    import_module(f"{__name__}.{_namespace}")
