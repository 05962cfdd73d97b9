"""Cloud Run services and jobs as processes of this machine.

Covered: scale from zero on a request and back to zero when idle, `min_instances`, `max_instances` and `concurrency`,
the queue in front of them and its 429, start-up by TCP or an HTTP health check with its time limit, liveness probes,
request time limits, SIGTERM and ten seconds before SIGKILL, `PORT` and the `K_` variables, a metadata server for each
instance, identity tokens on private services, revisions (a new one takes the requests, the old one finishes its own),
traffic split between revisions by percent (each in its turn, not by chance) and tags with addresses of their own
(`/run/<tag>---<service>`), the wait for a cold start in the answer (`Server-Timing`), structured logs; jobs with their
executions and tasks: parallelism, retries, time limits, overrides, cancelling, the `CLOUD_RUN_` variables. A restart
of the local cloud is no failure of a task: it starts again. The Admin API v2 over gRPC and REST: services and jobs
(create, get, list, update, delete, run), revisions (get, list), executions (get, list, cancel, delete), tasks,
operations (get, list, wait, delete; over gRPC no list), IAM policies (kept, but they grant nothing). Of the API v1
what `gcloud run` asks to describe, list, delete, execute and update traffic.
Not covered: containers (`command` and `args` run as a process; a service or job with only an image is refused, and
CPU, memory and volumes are not enforced), sidecars, session affinity, gRPC probes, worker pools, WebSockets, HTTP/2,
CPU throttling between requests, IAM beyond "has a token for this service".

https://cloud.google.com/run/docs/container-contract
"""
