"""Ways to train a part of a model by a small change of it, one file each; a file here is found by
itself.

A file's name is the adapter's, and its class, named the same in CamelCase, an `Adapter` whose
keyword-only arguments with literal defaults are the options that a study may give. The first line
of the file's docstring describes it; `LABEL` is how tables call it, with options in braces. Another
package adds its own by an entry point in the group `ablate.adapters`.
"""

import logging

from ablate.adapters._interface import Adapter, linear_layers

__all__ = ["Adapter", "linear_layers"]

# peft imports it; on a CPU it warns that another kernel might be downloaded, even of who only plans
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
