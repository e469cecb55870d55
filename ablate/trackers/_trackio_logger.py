"""A logger of Lightning's for trackio, which comes without one."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import trackio
from lightning.pytorch.loggers import Logger


class TrackioLogger(Logger):  # type: ignore[misc]
    """One run of trackio's, which goes on where one has its name. `options`: of `trackio.init`."""

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__()
        self._name = name
        self.experiment = trackio.init(name=name, resume="allow", embed=False, **options)

    @property
    def name(self) -> str:
        return self._name

    @property
    def version(self) -> str:
        return self._name

    def log_hyperparams(self, params: Mapping[str, Any] | Namespace, *_: Any, **__: Any) -> None:
        given = vars(params) if isinstance(params, Namespace) else params
        self.experiment.config.update(given)

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        self.experiment.log(dict(metrics), step=step)

    def finalize(self, status: str) -> None:
        self.experiment.finish()
