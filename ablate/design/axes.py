"""What a design may say of an axis: a word such as `qformer`, or `{name: qformer, queries: 64}`."""

from typing import Annotated, Any

from ablate.catalog import annotators
from ablate.catalog.axes import CONNECTOR, INJECTION, TILING
from ablate.parsing.choice import WORD, filled_by

ConnectorConfig = Annotated[dict[str, Any], WORD, filled_by(CONNECTOR.filled)]
TilingConfig = Annotated[dict[str, Any], WORD, filled_by(TILING.filled)]
InjectionConfig = Annotated[dict[str, Any], WORD, filled_by(INJECTION.filled)]
"""The name of a component of the axis with its options, as they are in a step's spec."""
OutputConfig = Annotated[dict[str, Any], WORD, filled_by(annotators.filled)]
"""What an annotator says of an image, and how a prompt shows it."""
