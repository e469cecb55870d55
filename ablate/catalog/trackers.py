"""The trackers there are: a file each in `ablate/trackers`, or another package's.

Imports no tracker and no torch.
"""

from ablate.errors import UserError
from fusion_zoo import Registry

TRACKERS = Registry("tracker", "ablate.trackers", "ablate.trackers", error=UserError)
