"""Experts that say in text, or draw as a map, what they see in an image, one file each; a file here
is found by itself.

A file's name is the annotator's, and its class, named the same in CamelCase, an `Annotator` or a
`MapAnnotator` whose keyword-only arguments with literal defaults are the options that a study may
give. The first line of the file's docstring describes it. Of one that speaks, `TEMPLATE` is what
stands around its words in a prompt, and `TOKENS` how many tokens of a prompt they may take; of one
that draws, `RESOLUTION` is at how many pixels its maps are looked at, and `WIDTH` how many channels
are made of them. Another package adds its own by an entry point
in the group `ablate.annotators`. No module here imports torch before an annotator is loaded.
"""

from ablate.annotators._interface import Annotator, Map, MapAnnotator, Observer, Pixels

__all__ = ["Annotator", "Map", "MapAnnotator", "Observer", "Pixels"]
