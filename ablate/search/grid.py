"""Arms: variants of the base side by side, in one round. For every question that is no search."""

from ablate.config.study import Arms, Study
from ablate.design import Design


def designs(study: Study, explore: Arms) -> dict[str, Design]:
    """The arms' designs by their names, in the order of the study."""
    return {arm.name: design for arm, design in zip(explore.arms, study.designs, strict=True)}
