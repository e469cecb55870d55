"""What a stage of training minimises, one file each; a file here is found by itself.

A file's name is the objective's, and its class, named the same in CamelCase, an `Objective` whose
keyword-only arguments with literal defaults are the options that a study may give. The first line
of the file's docstring describes it. Another package adds its own by an entry point in the group
`ablate.objectives` (`name = "package.module:Class"`).
"""

from ablate.train.objectives._interface import Objective

__all__ = ["Objective"]
