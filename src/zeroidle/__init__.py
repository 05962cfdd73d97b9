"""Event-driven GPU and TPU work on Google Cloud that costs nothing while idle."""

__version__ = "0.1.0"
