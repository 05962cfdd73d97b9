"""The console: a live page on what the local cloud holds and does, for a browser on this machine.

It is part of the gateway, at `/`: plain HTML, CSS and ES modules shipped with the package, nothing built and nothing
fetched from elsewhere. Shown: buckets and objects, topics and subscriptions with what is in flight, services with their
revisions, instances and logs, jobs and workflows with their executions, VMs and instance groups, triggers, schedules,
faults, and everything that happened. However much there is, a view shows the latest few hundred.

How it stays live: the page reads `/_localcloud/console/events`, server-sent events of the activity log, and asks again
for what it shows when something happened to it, at most about once a second. Nobody queues anything for a reader: each
has its place in the log and reads on from there. One that falls out of the log is told how much it missed, one that
comes back goes on where it was (`Last-Event-ID`), and a page nobody looks at hangs up.

How it stays safe: only loopback hosts reach the gateway; changes are taken from the page's own origin
(`localcloud.endpoints`); the page's policy allows its own scripts only; names and contents become text nodes, never
markup; objects are served as text or one of a few image types, in a sandbox, or as downloads. A page that a service
answers with has the same address and so the same rights: services are programs of this machine anyway.
"""
