"""`ablate` in a process that begins anew, but for libraries, which take seconds to import."""

import importlib
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from forks import codes, forked

from ablate.preflight.checks import MODULES

OURS = {"ablate", "fusion_zoo"}


def ablate(home: Path, site: Path, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A command in `cwd` of a user with this home for whom `site` comes first; it must end well.

    All of ours is imported anew, from `site` if it is there, as is what else is.
    """
    if words[0] == "run":
        for module in MODULES:
            importlib.import_module(module)
    paths = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")

        def begin() -> None:
            os.environ.update(PYTHONPATH=paths, ABLATE_HOME=str(home))
            os.chdir(cwd)
            for number, path in enumerate((Path(os.devnull), out, err)):
                os.dup2(os.open(path, os.O_RDWR | os.O_CREAT), number)
            sys.stdin, sys.stdout, sys.stderr = (
                os.fdopen(number, mode) for number, mode in enumerate("rww")
            )
            _forget(OURS | {path.stem for path in site.iterdir()})
            sys.path[:0] = [str(cwd), str(site)]
            sys.argv = ["ablate", *words]
            _run_as_main()

        [code] = codes([forked(begin)], seconds=600)
        done = subprocess.CompletedProcess(words, code, out.read_text(), err.read_text())
    assert code == 0, done.stderr
    return done


def _forget(packages: set[str]) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]
    importlib.invalidate_caches()


def _run_as_main() -> None:
    code = 1
    try:
        runpy.run_module("ablate", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = int(ended.code or 0)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code)
