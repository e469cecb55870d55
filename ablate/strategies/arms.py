"""Arms: variants of the base side by side, in one round. For every question that is no search."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, PrivateAttr, Strict

from ablate.design import Design, require_distinct
from ablate.parsing.tree import Located
from ablate.parsing.validation import Fields
from ablate.strategies import Context, Round, Strategy


class Arm(Fields):
    """One variant of the base: fields by dotted path, such as `fusion.name`, and their values.

    `published`: the row of the published table that it repeats.
    """

    name: Annotated[str, Field(min_length=1, max_length=80)]
    published: str | None = None
    set: dict[str, Any] = Field(default={})


class Arms(Strategy):
    """Variants of the base side by side, in one round. `axis` says in a word what they vary."""

    example: ClassVar[Mapping[str, Any]] = {
        "axis": "fusion",
        "arms": [{"name": "base"}, {"name": "append", "set": {"fusion.name": "sequence_append"}}],
    }
    goes_on: ClassVar[bool] = False
    noun: ClassVar[str] = "arm"

    axis: str
    arms: Annotated[tuple[Arm, ...], Strict(False), Field(min_length=1)]
    _designs: dict[str, Design] = PrivateAttr(default={})

    @property
    def planned_rounds(self) -> int:
        return 1

    def resolved(self, study: Context) -> Self:
        with study.at("arms"):
            require_distinct(arm.name for arm in self.arms)
        strategy = self.model_copy()
        strategy._designs = {
            arm.name: study.variant(tree.value["set"].value if "set" in tree.value else {})
            for arm, tree in zip(self.arms, study.written("arms").value, strict=True)
        }
        for n, arm in enumerate(self.arms):
            if arm.published is not None:
                with study.at("arms", n, "published"):
                    study.require_row(arm.published)
        return strategy

    def named_llms(self, written: Located) -> Iterable[Located]:
        sets = [arm.value["set"] for arm in written.at(["arms"]).value if "set" in arm.value]
        return [changes.value["llm"] for changes in sets if "llm" in changes.value]

    def designs(self, base: Design, before: Sequence[Round]) -> Mapping[str, Design]:
        return self._designs

    @property
    def differs_in(self) -> str:
        return self.axis

    @property
    def varies(self) -> tuple[str, ...]:
        return tuple(sorted({path for arm in self.arms for path in arm.set}))

    @property
    def heading(self) -> str:
        return f"{self.axis.capitalize()} arms"

    @property
    def published_rows(self) -> Mapping[str | int, str]:
        return {arm.name: arm.published for arm in self.arms if arm.published}
