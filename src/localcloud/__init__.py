"""An embedded emulator of the Google Cloud services that event-driven batch work uses, at the wire.

It knows nothing of the programs that run against it: they use the real client libraries, and only endpoints differ.
"""
