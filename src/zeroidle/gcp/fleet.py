"""VMs on Compute Engine: one regional instance group a cluster, region and way of buying, at size zero until asked.

google-cloud-compute takes 1.6 s of CPU and 148 MiB to import, so only a call that needs it does.
"""

from __future__ import annotations
