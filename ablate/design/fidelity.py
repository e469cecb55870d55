"""How much is spent to see how good a candidate is: less than all of its training or questions."""

from typing import Annotated

from pydantic import Field, field_validator

from ablate.parsing.validation import Fields

Share = Annotated[float, Field(gt=0.0, le=1.0)]


class Fidelity(Fields):
    """Shares in (0, 1] of what a whole candidate takes; where nothing is said, all of it.

    `stages`: of the steps of a stage, by its name in the recipe; `questions`: of those of every
    task, a smaller share within a larger one.
    """

    stages: dict[str, Share] = Field(default={}, exclude_if=lambda shares: not shares)
    questions: Share = Field(default=1.0, exclude_if=lambda share: share == 1.0)

    @field_validator("stages")
    @classmethod
    def _parts_only(cls, shares: dict[str, float]) -> dict[str, float]:
        """The shares that are less than all, so that what is spent alike is equal."""
        return {name: share for name, share in shares.items() if share < 1.0}

    @property
    def is_whole(self) -> bool:
        """Whether all is trained and asked."""
        return not self.stages and self.questions == 1.0

    def within(self, more: "Fidelity") -> bool:
        """Whether nothing of it is trained or asked less in the other."""
        names = self.stages.keys() | more.stages.keys()
        shares = ((self.stages.get(name, 1.0), more.stages.get(name, 1.0)) for name in names)
        return self.questions <= more.questions and all(part <= whole for part, whole in shares)

    @property
    def words(self) -> str:
        """As it is told: `25 % of finetune, 50 % of questions`; nothing of what is whole."""
        shares = dict(self.stages)
        if self.questions < 1.0:
            shares["questions"] = self.questions
        return ", ".join(f"{100.0 * share:.3g} % of {name}" for name, share in shares.items())


WHOLE = Fidelity()
