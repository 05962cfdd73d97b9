"""What holds for every test of the local cloud: what passes its gateway is what Google's APIs take and give."""

from tests.localcloud.recorder import checked_against_discovery, recorded_gateway

__all__ = ["checked_against_discovery", "recorded_gateway"]
