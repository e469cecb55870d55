"""`ablate doctor`: what this machine has and lacks, each finding with a remedy."""

import json
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from ablate.catalog import launchers
from ablate.catalog.step_kinds import DRIVER
from ablate.commands.output import columns, emit_json, folded, note, say
from ablate.commands.study_status import survey
from ablate.config import clusters
from ablate.config.distribution import NAME, shadows, strangers
from ablate.config.infra import Infra
from ablate.config.provenance import Origins
from ablate.errors import UserError
from ablate.files import home, sha256_file
from ablate.launch.devices import cores
from ablate.launch.finding import Finding, packages
from ablate.launch.launcher import Probe
from ablate.launch.registry import launcher, remote
from ablate.worker.caches import is_writable, moved_caches

ROOM = 2 * 2**30  # bytes a micro study takes at most, data and report included


def examine() -> Iterator[Finding]:
    """Every finding, the cheap ones first."""
    yield _python()
    yield from packages()
    yield from _foreign()
    yield _threads()
    yield from _devices()
    yield from _launchers()
    yield _disk()
    yield _caches()
    yield _network()
    yield from _weights()


def show(
    as_json: bool,
    backend: str = launchers.DEFAULT,
    study: str | None = None,
    overrides: Sequence[str] = (),
) -> int:
    """Print the findings, on a cluster those of a job there too, or of such jobs as the `study`
    has; 1 if there is a problem, else 0."""
    if not launcher(backend).remote and (study or overrides):
        raise UserError(f"a study is examined for what its jobs ask for: add {remote()}")
    if overrides and not study:
        raise UserError("--set changes a study: name one")
    findings = list(examine())
    findings += examine_jobs(backend, study, overrides)
    if as_json:
        emit_json([asdict(finding) for finding in findings])
    else:
        say(columns(["CHECK", "", "FOUND"], [(f.check, f.status, f.found) for f in findings]))
        for finding in findings:
            if finding.remedy:
                say(folded(f"\n{finding.check}: {finding.remedy}"))
    return int(any(finding.status == "problem" for finding in findings))


def examine_jobs(
    backend: str, study: str | None = None, overrides: Sequence[str] = ()
) -> Iterator[Finding]:
    """What the backend finds by jobs that look around: in place of those of a study, or of any."""
    infra_of_study, kinds = Infra(), []
    if study:
        status = survey(study, overrides)
        infra_of_study, kinds = status.study.infra, [*(step.kind for step in status.steps), DRIVER]
    infra = clusters.over(infra_of_study) if launcher(backend).remote else infra_of_study
    return launcher(backend).probe(
        Probe(infra, kinds, Origins.of(study, overrides, infra_of_study), note)
    )


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _foreign() -> Iterator[Finding]:
    """What other projects have put where our packages are, or before them."""
    for name, version, package in strangers():
        problem = f"{name} {version}, another project, installs into the package {package}, too"
        remedy = (
            f"Run `pip uninstall {name}`, then install {NAME} again with `--force-reinstall "
            "--no-deps`: each has written over files of the other."
        )
        yield Finding(package, "problem", problem, remedy)
    for package, folder in shadows():
        remedy = "Rename that folder, or take the one it is in from PYTHONPATH."
        yield Finding(package, "problem", f"{folder} hides ours", remedy)


def _threads() -> Finding:
    limit = os.environ.get("OMP_NUM_THREADS")
    here = f"{cores()} cores" + (f", OMP_NUM_THREADS={limit}" if limit else "")
    return Finding("threads", "ok", here)


def _devices() -> Iterator[Finding]:
    try:
        import torch
    except Exception as error:  # a broken installation fails in many ways
        remedy = "Install torch for this machine (https://pytorch.org/get-started/locally)."
        yield Finding("devices", "problem", f"torch does not import: {error}", remedy)
        return
    if not torch.cuda.is_available():
        remedy = "Micro studies need no GPU. For the paper's scale, check `nvidia-smi` and torch."
        yield Finding("devices", "note", "CPU only", remedy)
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        size = properties.total_memory / 2**30
        yield Finding(f"cuda:{index}", "ok", f"{properties.name}, {size:.0f} GiB")


def _launchers() -> Iterator[Finding]:
    for name in launchers.names():
        try:
            yield from launcher(name).examine()
        except UserError as error:  # another package's, which does not import
            yield Finding(
                name, "problem", str(error), "No study runs with this backend until then."
            )


def _disk() -> Finding:
    folder = home()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    here = f"{free / 2**30:.1f} GiB free at {folder}"
    try:
        with tempfile.NamedTemporaryFile(dir=there):
            pass
    except OSError as error:
        remedy = "Set ABLATE_HOME to a folder you may write to."
        return Finding("disk", "problem", f"{folder}: {error.strerror}", remedy)
    if free < ROOM:
        remedy = "Make room, or set ABLATE_HOME to a larger disk; a micro study takes up to 2 GiB."
        return Finding("disk", "problem", here, remedy)
    return Finding("disk", "ok", here)


def _caches() -> Finding:
    moved = moved_caches()
    if not moved:
        return Finding("caches", "ok", "the home directory can be written")
    if not is_writable(home()):
        remedy = "Make the home directory writable, or set ABLATE_HOME to a folder that is."
        return Finding("caches", "problem", f"neither {Path.home()} nor {home()}", remedy)
    here = f"{Path.home()} cannot be written: libraries' caches go to {home() / 'caches'}"
    return Finding("caches", "note", here, f"To choose other places, set {', '.join(moved)}.")


def _network() -> Finding:
    """Only what is configured: nothing is contacted."""
    names = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
    offline = [name for name in names if os.environ.get(name, "").lower() in ("1", "true", "yes")]
    here = f"offline by {', '.join(offline)}" if offline else "no offline switch is set"
    return Finding("network", "ok", f"{here}; micro studies need none")


def _weights() -> Iterator[Finding]:
    """Each shipped weights file against the checksum on its card."""
    from ablate.catalog import encoders as registry
    from ablate.catalog import llms
    from ablate.catalog.micro_encoders import WEIGHTS

    for spec in registry.specs():
        if spec.weights.kind == "shipped":
            path = WEIGHTS / spec.weights.ref
            yield _shipped(spec.title, path, path.with_suffix(".json"))
    for llm in llms.specs():
        if llm.kind == "shipped":
            yield _shipped(llm.name, llm.folder / "model.safetensors", llm.folder / "card.json")


def _shipped(name: str, path: Path, card: Path) -> Finding:
    check = f"weights {name}"
    again = "Install the project again, or make the weights anew with `ablate bake`."
    try:
        stated = json.loads(card.read_text(encoding="utf-8")).get("sha256")
        actual = sha256_file(path)
    except (OSError, ValueError):
        return Finding(check, "problem", f"{path.name} or its card is missing", again)
    size = f"{path.stat().st_size / 2**20:.1f} MiB"
    if stated != actual:
        return Finding(check, "problem", f"the checksum of {path.name} does not hold", again)
    return Finding(check, "ok", f"{size}, checksum holds")
