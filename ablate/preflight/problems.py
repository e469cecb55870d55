"""Whatever a check of the preflight raises, as a problem with a remedy."""

import sys
import traceback
from importlib.metadata import packages_distributions, version
from pathlib import Path

from ablate.errors import UserError
from ablate.preflight.step import Problem
from ablate.worker.causes import causes_of, unwrap_retry


def from_error(what: str, error: Exception, remedy: str) -> Problem:
    """A problem out of what was raised; a package that does not import has a remedy of its own."""
    error = _plain(unwrap_retry(error))
    lost = next((cause for cause in causes_of(error) if isinstance(cause, ImportError)), None)
    if lost:
        return import_problem(what, lost)
    if isinstance(error, UserError):
        return Problem(str(error) if what in str(error) else f"{what}: {error}", "")
    words = " ".join(str(error).split())[:400]
    at = traceback.extract_tb(error.__traceback__)
    if isinstance(error, NotImplementedError) and not words and at:
        return Problem(f"{what}: it does not define `{at[-1].name}`", remedy)
    return Problem(f"{what}: {type(error).__name__}: {words} ({_raised_at(at)})", remedy)


def import_problem(what: str, error: ImportError) -> Problem:
    """The package that lacks what is imported of it, where it lies, and how it is put right."""
    top = (error.name or "").partition(".")[0]
    module = sys.modules.get(top)
    file = str(getattr(module, "__file__", None) or error.path or "")
    owners = packages_distributions().get(top, [])
    named = f" {owners[0]} {version(owners[0])}" if owners else ""
    here = f" ({top} is {file})" if file and file not in str(error) else ""
    remedy = f"`pip install -c constraints.txt {owners[0] if owners else top or 'PACKAGE'}`"
    if file and "site-packages" not in file and "dist-packages" not in file:
        folder = Path(file).parents[1] if file.endswith("__init__.py") else Path(file).parent
        remedy = f"{folder} hides the installed{named}: take it off PYTHONPATH"
    elif named:
        remedy += f", which is{named} now"
    return Problem(f"{what}: {error}{here}", remedy, broken=True)


def _plain(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(str(error))


def _raised_at(frames: traceback.StackSummary) -> str:
    """File and line of the deepest call that is not torch's."""
    ours = [frame for frame in frames if "/torch/" not in frame.filename]
    shown = ours or list(frames)
    return f"{shown[-1].filename}:{shown[-1].lineno}" if shown else "no place known"
