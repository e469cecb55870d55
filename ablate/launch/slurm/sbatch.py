"""What sbatch is asked for, a kind of step at a time, and asking it, through submitit."""

import contextlib
import io
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ablate.catalog.step_kinds import DRIVER, PREFLIGHT
from ablate.config.infra import Infra
from ablate.errors import UserError
from ablate.launch.slurm.options import NAME, Slurm, options

NOTICE = 120
"""Seconds before its time limit at which a job is told to go; Slurm may be a minute early."""
PATIENCE = 60
"""Seconds that sbatch is given: while slurmctld is away it would try for minutes."""
SET_UP = "set-up line failed: "
"""What a job's log says of the set-up line that ended it, before that line."""
COMMANDS = ("sbatch", "srun", "squeue", "scancel")
"""What a driver runs of Slurm and cannot do without."""
SOON = 60
"""Minutes at most that a preflight is given: a short job need not wait for long."""
ALONE = ([DRIVER], [PREFLIGHT])
"""Kinds of which there is but one job."""
FOREVER = 10**6
"""Time-outs after which submitit would no longer requeue the job of a driver."""

NODE_OPTIONS = {
    "contiguous",
    "cores-per-socket",
    "cpus-per-gpu",
    "exclusive",
    "gpus",
    "gpus-per-socket",
    "gpus-per-task",
    "gres",
    "mem-per-cpu",
    "mem-per-gpu",
    "mincpus",
    "nodelist",
    "ntasks-per-core",
    "ntasks-per-gpu",
    "sockets-per-node",
    "threads-per-core",
    "tmp",
}
"""Options of sbatch that say what nodes steps need; a driver would hold that for weeks, unused."""


class RefusedError(Exception):
    """sbatch did not take a job, and why in a line."""


class LimitError(RefusedError):
    """sbatch did not take so many jobs now. `limit`: Slurm's word for what limits them; `sure`:
    whether it is that, for older versions of Slurm name several reasons at once."""

    def __init__(self, answer: str, limit: str, *, sure: bool) -> None:
        super().__init__(answer)
        self.limit, self.sure = limit, sure


LIMITS = re.compile(
    r"\w*(?:MaxSubmitJob|GrpSubmitJob|MaxJobCount)\w*"
    r"|Invalid job array specification|temporarily unable to accept job"
)
"""What sbatch says where fewer jobs at once, or the same later, would be taken."""
OTHERS = re.compile(r"\b(?:QOS|Assoc)(?:Max|Min|Grp)\w+|QOSNotAllowed")
"""What it names where a job itself is too large, in place of a limit on their number."""


def refused(answer: str) -> RefusedError:
    """What sbatch's words mean."""
    if limit := LIMITS.search(answer):
        return LimitError(answer, limit[0], sure=True)
    if "job submit limit" in answer and not OTHERS.search(answer):
        return LimitError(answer, "job submit limit", sure=False)
    return RefusedError(answer)


@dataclass(frozen=True)
class Request:
    """What a job asks for. `options`: of sbatch, by their long names; the rest as in `Slurm`."""

    options: Mapping[str, Any]
    setup: Sequence[str]
    srun: Sequence[str]
    python: Sequence[str]

    @property
    def words(self) -> list[str]:
        """The options as one would type them."""
        return [
            f"--{name}" if value is True else f"--{name}={shlex.quote(str(value))}"
            for name, value in self.options.items()
        ]

    def lines(self) -> list[str]:
        """As a user would write it: an option a line, what the job begins with, what it runs."""
        return [*self.words, *self.setup, shlex.join(["srun", *self.srun, *self.python])]


def require_slurm() -> None:
    """Raises UserError unless the commands of Slurm that a driver runs are here."""
    missing = [name for name in COMMANDS if not shutil.which(name)]
    if missing:
        raise UserError(
            f"no {', '.join(missing)} on the PATH: --backend slurm is for a login node of a cluster"
        )


def on_gpus(infra: Infra) -> bool:
    """Whether steps run on GPUs there: unless it is said otherwise, they do."""
    return options(infra).gpus != 0 if infra.device == "auto" else infra.device == "cuda"


def request(infra: Infra, *, requeue: bool = False) -> Request:
    """What a job asks for whose steps run in this way.

    `requeue`: whether Slurm may begin it again by itself. Jobs of steps may not: their driver
    alone decides that, for it alone sees whether they get on (see docs/cluster.md).
    """
    asked = options(infra)
    gpus = asked.gpus if asked.gpus is not None else infra.devices * on_gpus(infra)
    named = {name: getattr(asked, name) for name in ("partition", "account", "qos", "constraint")}
    flags = {
        "time": asked.timeout_min,
        "nodes": infra.nodes,
        "ntasks-per-node": infra.devices,
        "cpus-per-task": asked.cpus,
        "gpus-per-node": gpus or None,
        "mem": asked.mem,
        **named,
        "requeue" if requeue else "no-requeue": True,
        "signal": f"USR2@{min(NOTICE, 15 * asked.timeout_min)}",
        **asked.extra,
    }
    return Request(
        {name: value for name, value in flags.items() if value not in (None, False)},
        (f"export OMP_NUM_THREADS={asked.cpus}", *asked.setup),
        (f"--cpus-per-task={asked.cpus}", *asked.srun),  # srun no longer takes it from sbatch
        asked.python or (sys.executable,),
    )


def fail_fast_setup(setup: Sequence[str]) -> list[str]:
    """The set-up lines as a job has them: the first whose exit status is not 0 ends it, by name.

    `set -e` would not do: it also ends what fails inside scripts of modules and conda, which is
    their own business. A line that ends the shell is named as well, by the trap.
    """
    script = [f'trap \'[ -z "$SET_UP" ] || echo "{SET_UP}$SET_UP" >&2\' EXIT']
    for line in setup:
        script += [f"SET_UP={shlex.quote(' '.join(line.split()))}", line, "[ $? = 0 ] || exit"]
    return [*script, "SET_UP="]


def request_of(infra: Infra, kind: str) -> Request:
    """What a job of this kind of steps asks for."""
    if kind == DRIVER:
        return _driver_request(infra)
    if kind == PREFLIGHT:
        soon = Slurm(timeout_min=min(options(infra).timeout_min, SOON))
        of_kind = infra.kinds.get(PREFLIGHT) or Infra()
        return request(of_kind.over(_infra_with(soon).over(infra.of(kind))))
    return request(infra.of(kind))


def _driver_request(infra: Infra) -> Request:
    """One core, none of what steps need beyond that (`NODE_OPTIONS`), and what `infra.kinds.driver`
    says."""
    asked = options(infra)
    extra = {name: value for name, value in asked.extra.items() if name not in NODE_OPTIONS}
    least = Slurm(cpus=1, gpus=0, mem=None, constraint=None)
    small = _infra_with(least, device="cpu", devices=1, nodes=1)
    plain = infra.model_copy(update={NAME: asked.model_copy(update={"extra": extra})})
    of_driver = infra.kinds.get(DRIVER) or Infra()
    return request(of_driver.over(small.over(plain)), requeue=True)


def _infra_with(asked: Slurm, **fields: Any) -> Infra:
    """Fields that say this of Slurm, and nothing but `fields` besides."""
    return Infra.model_validate({NAME: asked, **fields})


def requests(infra: Infra, kinds: Iterable[str]) -> list[tuple[list[str], Request]]:
    """What jobs of these kinds of steps ask for, `driver` among them; kinds that ask for the same
    are together."""
    grouped: list[tuple[list[str], Request]] = []
    for kind in dict.fromkeys(kinds):
        asked = request_of(infra, kind)
        alike = next((names for names, request in grouped if request == asked), None)
        if alike is None:
            grouped.append(([kind], asked))
        else:
            alike.append(kind)
    return grouped


def shown(infra: Infra, kinds: Iterable[str], at_once: int | None) -> str:
    """What sbatch will be asked for, for each kind of step, as a user would write it."""
    blocks = []
    for alike, asked in requests(infra, kinds):
        array = [f"--array=0-{at_once - 1}"] if at_once and alike not in ALONE else []
        blocks.append("\n    ".join([f"sbatch for {', '.join(alike)}:", *array, *asked.lines()]))
    return "\n".join(blocks)


def submit(asked: Request, folder: Path, name: str, calls: Sequence[Callable[[], Any]]) -> str:
    """Submit one job, or one array where there are several `calls`; its number.

    Scripts, pickles and logs go to `folder`. Raises RefusedError, or LimitError where there are too
    many.
    """
    import submitit

    python = shlex.join(asked.python)
    executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=FOREVER, python=python)
    within = ("timeout", "--foreground", "--kill-after=5", str(PATIENCE))
    sbatch = executor._make_submission_command  # submitit waits for it for as long as it takes
    executor._make_submission_command = lambda script: [*within, *sbatch(script)]
    left = dict(asked.options)
    executor.update_parameters(
        time=left.pop("time"),
        nodes=left.pop("nodes"),
        ntasks_per_node=left.pop("ntasks-per-node"),
        job_name=name,
        wckey=None,  # submitit's own; a cluster that checks keys would not know it
        setup=fail_fast_setup(asked.setup),
        srun_args=list(asked.srun),
        array_parallelism=len(calls),
        additional_parameters=left,
    )
    try:
        with _outside_of_a_job(), contextlib.redirect_stderr(io.StringIO()):
            return str(executor.submit_array(calls)[0].job_id).partition("_")[0]
    except submitit.core.utils.FailedJobError as error:
        answer = " ".join(str(error).split())
        raise refused(answer or f"it did not answer in {PATIENCE} s") from None


@contextlib.contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """The environment without what Slurm told the job that we may be in, and a new one inherits."""
    import submitit

    where = os.environ.get("SLURM_CONF")
    with submitit.helpers.clean_env() if "SLURM_JOB_ID" in os.environ else contextlib.nullcontext():
        if where:
            os.environ["SLURM_CONF"] = where
        yield
