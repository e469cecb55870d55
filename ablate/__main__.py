"""How `ablate` begins and ends: each failure is one line and an exit code, unless --debug is said.

`python -m ablate` is the same.
"""

import errno
import re
import sys
from functools import cache
from typing import Any

import typer

from ablate.cli import app
from ablate.errors import BrokenError, UserError, nearest
from ablate.files import home, writing
from ablate.garbage import collect_rarely
from ablate.printable import one_line
from ablate.redaction import redact

LINE = 1500  # characters of an error
STOPPED = 130  # what typer makes of a Ctrl-C


def main() -> None:
    """Run the command line; a user's mistake is one line on stderr and exit code 2.

    Without any word it shows its help, and the exit code is 2, too.
    """
    collect_rarely()
    debug = "--debug" in sys.argv[1:]
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    bare = not arguments
    words = ["--help"] if bare else arguments
    try:
        with writing(home()):
            code = command_line()(words, "ablate", standalone_mode=False)
    except (typer.TyperException, UserError) as error:
        if debug:
            raise
        code = 1 if isinstance(error, BrokenError) else 2
        fail(_typed(error) if isinstance(error, typer.TyperException) else str(error), code)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        sys.stderr.close()
        sys.exit(0)
    except Exception as error:  # what is left is a mistake of ours, whatever it is
        if debug:
            raise
        if isinstance(error, OSError) and _homeless(error):
            fail(f"cannot make {home()}: {error.strerror}; choose another $ABLATE_HOME", 2)
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            fail(f"no name of a file is as long as '{error.filename}'", 2)
        message = f"{type(error).__name__}: {error}"
        fail(f"internal error: {message} (--debug shows where)", 1)
    if code == STOPPED:
        fail("stopped; what is finished stays, the same command goes on from there", STOPPED)
    sys.exit(2 if bare else code if isinstance(code, int) else 0)


@cache
def command_line() -> Any:
    """Every command with its options; to make them of the functions' signatures takes a while."""
    return typer.main.get_command(app)


def _typed(error: typer.TyperException) -> str:
    """What is wrong with what was typed; of a choice that is none, the nearest one."""
    message = error.format_message()
    choice = re.fullmatch(r"(.*: )(?:Value error, )?'(.*)' is not one of (.+)\.", message)
    if choice is None:
        return message
    about, word, choices = choice.groups()
    valid = re.findall(r"'([^']*)'", choices)
    return f"{about}'{word}' is no valid value{nearest(word, valid)}"


def _homeless(error: OSError) -> bool:
    """Whether there is no `home()`, and no way to make it."""
    return not home().is_dir() and str(error.filename).startswith(str(home()))


def fail(message: str, code: int) -> None:
    """One line on stderr, then exit; of a very long one, beginning and end."""
    line = one_line(redact(message))
    if len(line) > LINE:
        line = f"{line[: LINE // 2]} ... {line[-LINE // 2 :]}"
    print(f"ablate: {line}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
