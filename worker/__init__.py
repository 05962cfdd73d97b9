"""The agent on a GPU VM: pulls an assignment of its cluster, claims it, runs it, reports, and ends its own VM."""
