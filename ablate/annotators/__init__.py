"""Experts that say in text what they see in an image, one file each; a file here is found by
itself.

A file's name is the annotator's, and its class, named the same in CamelCase, an `Annotator` whose
keyword-only arguments with literal defaults are the options that a study may give. The first line
of the file's docstring describes it; `TEMPLATE` is what stands around its words in a prompt, and
`TOKENS` how many tokens of a prompt they may take. Another package adds its own by an entry point
in the group `ablate.annotators`. No module here imports torch before an annotator is loaded.
"""

from ablate.annotators._interface import Annotator, Pixels

__all__ = ["Annotator", "Pixels"]
