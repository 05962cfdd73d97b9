"""Google Cloud Workflows: deploy YAML or JSON, execute it, ask for executions over gRPC and REST.

Covered: all steps (assign, call, switch, for, parallel, try with retry and except, raise, return, next, nested steps,
subworkflows), the checks made at deployment, expressions, the standard library, callbacks, HTTP calls with OIDC and
OAuth2, the connectors that `connectors.py` lists, the limits of an execution (steps, memory, call stack, nesting,
response, argument), error contexts and stack traces, revisions, cancelling, listing with filters. Executions survive
the end of the process: completed effects are journaled and not repeated.

Left out: Workflows' own create, update and delete calls (deploy with `Workflows.deploy`), step entries, exported data,
customer-managed keys, call logging, quotas on concurrent executions, private services.

Decisions where Google's documentation is silent say `Not documented:` where they are made.
"""
