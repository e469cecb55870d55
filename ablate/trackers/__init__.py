"""Where else a step's metrics are shown, one file a tracker; a file here is found by itself.

A file's name is the tracker's, and its class, named the same in CamelCase, a `Tracker` whose
keyword-only arguments with literal defaults are the options that `infra.tracker` may give. The
first line of the file's docstring describes it. Another package adds its own by an entry point in
the group `ablate.trackers`. A tracker's package is imported where it is asked for only.
"""

from ablate.trackers._interface import Run, Tracker
from ablate.trackers._tracking import Tracking, build_tracker, tracking

__all__ = ["Run", "Tracker", "Tracking", "build_tracker", "tracking"]
