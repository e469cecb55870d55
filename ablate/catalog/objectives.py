"""The training objectives there are: a file each in `ablate/train/objectives`, or another
package's. Imports no torch."""

from fusion_zoo import Registry

OBJECTIVES = Registry("objective", "ablate.objectives", "ablate.train.objectives")
