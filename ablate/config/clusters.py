"""The clusters of a user: what a site wants of every job, said once and not in each study.

    # ~/.config/ablate/clusters.yaml, or below $XDG_CONFIG_HOME, or where $ABLATE_CLUSTERS says
    default: site
    clusters:
      site: {slurm: {partition: gpu, account: me}, kinds: {evaluate: {slurm: {timeout_min: 60}}}}

A profile has the fields of a study's `infra` (see `ablate.config.infra`), which goes over it.
"""

import os
from pathlib import Path

from pydantic import Field

from ablate.config.infra import Infra
from ablate.config.study import Study
from ablate.errors import UserError, nearest
from ablate.parsing.tree import Located, load
from ablate.parsing.validation import Fields, error_location, validated


class Clusters(Fields):
    """Profiles by their names, and the one that a study has that names none."""

    default: str | None = None
    clusters: dict[str, Infra] = Field(default={})


def profiles() -> Path:
    """The file of the user's profiles, there or not."""
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return Path(os.environ.get("ABLATE_CLUSTERS") or config / "ablate" / "clusters.yaml")


def with_profile(study: Study) -> Study:
    """The study with the fields of its cluster's profile where its own `infra` does not say.

    Raises UserError for a mistake in the file, or a profile that is not in it.
    """
    return study.model_copy(update={"infra": over(study.infra)})


def over(infra: Infra) -> Infra:
    """These fields over those of the profile that they name, or else of the default one."""
    chosen = profile(infra)
    return infra.over(chosen[0]) if chosen else infra


def profile(infra: Infra) -> tuple[Infra, Located] | None:
    """The profile that these fields go over, and how it is written; None where there is none."""
    path, name = profiles(), infra.cluster
    if not path.is_file():
        if name or "ABLATE_CLUSTERS" in os.environ:
            wanted = f"infra.cluster is '{name}', but there" if name else "$ABLATE_CLUSTERS: there"
            raise UserError(f"{wanted} is no file {path}")
        return None
    tree = load(path)
    known = validated(Clusters, tree, [])
    with error_location(tree, ["default"]):
        if known.default is not None and known.default not in known.clusters:
            raise UserError(f"no cluster '{known.default}'{nearest(known.default, known.clusters)}")
    name = name or known.default
    if name is None:
        return None
    if name not in known.clusters:
        raise UserError(f"infra.cluster: no '{name}' in {path}{nearest(name, known.clusters)}")
    return known.clusters[name], tree.at(["clusters", name])
