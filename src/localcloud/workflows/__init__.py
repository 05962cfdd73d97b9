"""Google Cloud Workflows: deploy YAML or JSON, execute it, ask for executions over gRPC and REST.

Covered: all steps (assign, call, switch, for, parallel, try with retry and except, raise, return, next, nested steps,
subworkflows), the checks made at deployment, expressions, the standard library, callbacks, HTTP calls with OIDC and
OAuth2, the connectors that `connectors.py` lists, the limits of an execution (steps, memory, call stack, nesting,
response, argument), error contexts and stack traces. Executions survive the end of the process: completed effects are
journaled and not repeated; one that cannot go on ends FAILED with the reason.

From a source to its steps, each stage a module:

    source     text as nodes with their places
    reader     nodes as the frozen tree of `tree` and `syntax` (expressions: `parser`); fields and counts are right
    checker    names, scopes, jumps and arguments are right; what passes can run
    compiler   the tree as functions: `evaluator` those of expressions, `steps` those of steps
    engine     runs blocks, calls, loops, attempts and branches; `thread` has what a running step knows

`stdlib` has one module a namespace. Where Google's documentation is silent, `choices` decides, with reasons. `observe`
tells what an execution does, step by step.

Of the APIs, over gRPC as far as the client library has messages and over REST: executions create, get, list, cancel,
exportData, deleteExecutionHistory; step entries get and list; callbacks list; triggerPubsubExecution; workflows create,
get, list, update, delete and their revisions; operations get, list, wait, delete. Lists take filters, orders and pages.
Each method is a fault point: `workflows.` and its name in `table.py`, such as `workflows.executions.create`.

Differs: operations are over at once; nobody needs a permission, not even to call back; calls stay on this machine
unless the operator allows a host (`http.py`); step entries have no variable data, and after a restart the times of the
replay; ended executions are kept 90 days of virtual time, of step entries 5,000 an execution.

Left out: customer-managed keys, call logging, quotas on concurrent executions (nothing is ever QUEUED), private
services, locations, tags.
"""
