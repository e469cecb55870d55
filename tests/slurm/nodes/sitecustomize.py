"""Nodes that are machines of their own, for whoever has this folder on its PYTHONPATH.

None can see whether a process of another runs, and their clocks disagree: those of two are an hour
off, one ahead and one behind. Elsewhere a clock is off by as many seconds as CLOCK_OFF says. On the
third no job hears the notice of its end that it asked Slurm for. Who is dead is known in a third of
the time, and Slurm is asked that much more often.
"""

import os
import signal
import time

import ablate.store.lease

OFF = {"fake1": 3600.0, "fake3": -3600.0}
DEAF = "fake2"
node = os.environ.get("SLURMD_NODENAME", "")
ahead = OFF.get(node, float(os.environ.get("CLOCK_OFF", "0")))
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + ahead
time.time_ns = lambda: now_ns() + int(ahead * 1e9)
ablate.store.process.machine = lambda: node or "login"  # type: ignore[assignment]
if node == DEAF:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
ablate.store.lease.Watch.__init__.__defaults__ = (ablate.store.lease.PATIENCE / 3,)
if not node:
    from ablate.launch.slurm import jobs, squeue

    jobs.GRACE, squeue.ASK = jobs.GRACE / 3, squeue.ASK / 3
