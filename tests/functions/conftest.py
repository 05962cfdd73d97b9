"""What functions ask of the local cloud, and what they are sent, is as in Google's APIs."""

from tests.localcloud.recorder import checked_against_discovery, recorded_gateway

__all__ = ["checked_against_discovery", "recorded_gateway"]
