"""Where an option of a launcher is set: in the study, by --set, or in the profile of a cluster."""

from collections.abc import Sequence
from dataclasses import dataclass

from ablate.config import clusters
from ablate.config.infra import Infra
from ablate.config.study import as_written
from ablate.parsing.tree import Located


@dataclass(frozen=True)
class Origins:
    """What is written of `infra`, the study's first and then that of the profile under it."""

    trees: Sequence[Located]

    @classmethod
    def of(cls, study: str | None, overrides: Sequence[str], infra: Infra) -> "Origins":
        """Of the study of this name or in this file (None: of none), whose own `infra` this is."""
        infras = [as_written(study, overrides).value.get("infra")] if study else []
        chosen = clusters.profile(infra)
        return cls([tree for tree in (*infras, chosen and chosen[1]) if tree])

    def defined_at(self, launcher: str, field: str, kind: str | None = None) -> str | None:
        """Where the field of `infra.<launcher>` is set for a kind of step, such as `study.yaml:7`;
        None: nowhere."""
        for path in ("kinds", kind, launcher, field), (launcher, field):
            for tree in self.trees:
                if value := _exactly(tree, path):
                    return value.where
        return None


def _exactly(tree: Located, path: Sequence[str | None]) -> Located | None:
    """The value at the path, if it is there."""
    for part in path:
        if not isinstance(tree.value, dict) or part not in tree.value:
            return None
        tree = tree.value[part]
    return tree
