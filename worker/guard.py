"""How does a job end with its agent, however that ends? `python -I -S guard.py`, leader of the job's process group.

Its standard input is a pipe whose write end only the agent has. When the agent goes, also by SIGKILL, the pipe ends and
the guard kills its group, itself included. A process that leaves the group (a daemon) is not followed; on a GPU VM the
container holds it, and the VM's end ends that.
"""

import os
import signal
import sys

# The polite signal goes to the whole group; the job may take its time over it.
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
os.write(sys.stdout.fileno(), b"!")  # from now on it can be relied on
sys.stdin.buffer.read()
os.killpg(0, signal.SIGKILL)
