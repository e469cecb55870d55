"""Clocks that disagree, for whoever has this folder on its PYTHONPATH.

Those of two nodes are an hour off, one ahead and one behind; elsewhere it is as many seconds as
CLOCK_OFF says.
"""

import os
import time

OFF = {"fake1": 3600.0, "fake3": -3600.0}
ahead = OFF.get(os.environ.get("SLURMD_NODENAME", ""), float(os.environ.get("CLOCK_OFF", "0")))
now, now_ns = time.time, time.time_ns
time.time = lambda: now() + ahead
time.time_ns = lambda: now_ns() + int(ahead * 1e9)
