"""Write constraints.txt anew: every package that is installed, those of packages too, pinned.

`make pins` runs this and then the demo. Each Python is asked what it would install today;
where the answers differ, a pin says for which Python or system it is. Today's versions are kept
instead with `PIP_CONSTRAINT=constraints.txt make pins`.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
APART = {
    "deepspeed": "# DeepSpeed, in an environment of its own",
    "small": "# SmolLM2, of which we need the file alone, and what would run it",
}
"""The extras that the environment of `make` is without."""
HEAD = f"""\
# Every package of `pip install -e '.[dev]'`, made by `make pins` for Python {", ".join(PYTHONS)}.
"""
TOOLS = ("pip", "setuptools")  # what installs, and what builds where there is no wheel
MAC = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"}


@dataclass(frozen=True)
class Resolved:
    """What one Python would install."""

    names: Mapping[str, str]  # as its author writes it, by canonical name
    versions: Mapping[str, str]
    needs: Mapping[str, list[Requirement]]
    environment: Mapping[str, str]  # what markers are about
    ours: str

    def reached(self, *extras: str, **other: str) -> set[str]:
        """The packages that `extras` of ours lead to, on `other` values of the environment."""
        seen: set[tuple[str, str]] = set()
        ahead = [(self.ours, extra) for extra in ("", *extras)] + [(name, "") for name in TOOLS]
        while ahead:
            name, extra = ahead.pop()
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            markers = {**self.environment, **other, "extra": extra}
            for need in self.needs.get(name, []):
                if need.marker is None or need.marker.evaluate(markers):
                    package = str(canonicalize_name(need.name))
                    ahead += [(package, extra) for extra in ("", *need.extras)]
        return {name for name, _ in seen}


def resolve(version: str, folder: Path) -> Resolved:
    """What Python `version` would install for all extras; SystemExit where that Python is not."""
    python = shutil.which(f"python{version}")
    if python is None or subprocess.run([python, "-V"], capture_output=True).returncode:
        sys.exit(f"make pins asks Python {', '.join(PYTHONS)}; python{version} is not on the PATH")
    subprocess.run([python, "-m", "venv", folder / version], check=True)
    pip = [str(folder / version / "bin" / "python"), "-m", "pip", "--quiet"]
    subprocess.run([*pip, "install", "--upgrade", "pip"], check=True)
    report = folder / f"{version}.json"
    ask = ["install", "--dry-run", "--ignore-installed", "--report", str(report)]
    subprocess.run([*pip, *ask, f"{ROOT}[{','.join(['dev', *APART])}]", *TOOLS], check=True)
    return read(json.loads(report.read_text(encoding="utf-8")))


def read(report: Mapping[str, object]) -> Resolved:
    """What a report of pip says."""
    items = report["install"]
    environment = report["environment"]
    assert isinstance(items, list)
    assert isinstance(environment, dict)
    entries = {str(canonicalize_name(entry["metadata"]["name"])): entry for entry in items}
    (ours,) = (name for name, entry in entries.items() if "dir_info" in entry["download_info"])
    metadata = {name: entry["metadata"] for name, entry in entries.items()}
    return Resolved(
        {name: fields["name"] for name, fields in metadata.items()},
        {name: fields["version"] for name, fields in metadata.items() if name != ours},
        {
            name: [Requirement(line) for line in fields.get("requires_dist", [])]
            for name, fields in metadata.items()
        },
        environment,
        ours,
    )


def pins(answers: Mapping[str, Resolved]) -> Iterator[str]:
    """The lines of constraints.txt, from what each Python would install."""
    everywhere = list(answers.values())
    anywhere = {name for resolved in everywhere for name in resolved.reached("dev", *APART, **MAC)}
    written: set[str] = set()
    for extra, head in {
        "dev": HEAD,
        **{extra: f"\n{head}\n" for extra, head in APART.items()},
    }.items():
        yield head
        names = {name for resolved in everywhere for name in resolved.reached(extra)}
        known = {name for resolved in everywhere for name in resolved.versions}
        for name in sorted(names & known - written):
            system = "" if name in anywhere else 'sys_platform == "linux"'
            yield from _lines(name, answers, system)
        written |= names


def _lines(name: str, answers: Mapping[str, Resolved], system: str) -> Iterator[str]:
    written = next(resolved.names[name] for resolved in answers.values() if name in resolved.names)
    versions = {python: resolved.versions.get(name) for python, resolved in answers.items()}
    for version in dict.fromkeys(versions.values()):
        if version is not None:
            those = [python for python, pinned in versions.items() if pinned == version]
            parts = (_for_pythons(those, list(versions)), system)
            marker = " and ".join(part for part in parts if part)
            yield f"{written}=={version}{f'; {marker}' if marker else ''}\n"


def _for_pythons(those: list[str], asked: list[str]) -> str:
    """The marker that holds for `those` of the Pythons asked: they follow one another."""
    first, last = asked.index(those[0]), asked.index(those[-1])
    assert those == asked[first : last + 1], f"a version for {those} of {asked}"
    parts = [f'python_version >= "{asked[first]}"'] if first else []
    parts += [f'python_version < "{asked[last + 1]}"'] if asked[last + 1 :] else []
    return " and ".join(parts)


def parse(text: str, extra: Iterable[str] = ()) -> dict[str, str]:
    """The pins of constraints.txt that hold for this Python and system, by canonical name; of those
    apart what an `extra` names."""
    here, wanted = [], True
    heads = {head: name in extra for name, head in APART.items()}
    for line in text.splitlines():
        wanted = heads.get(line, wanted)
        if wanted and line and line[0] != "#":
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate():
                here.append(requirement)
    return {
        str(canonicalize_name(requirement.name)): str(requirement.specifier)[2:]
        for requirement in here
    }


def main() -> None:
    """Ask each Python, then write the file in one go."""
    with tempfile.TemporaryDirectory() as folder:
        answers = {version: resolve(version, Path(folder)) for version in PYTHONS}
    (ROOT / "constraints.txt").write_text("".join(pins(answers)), encoding="utf-8")


if __name__ == "__main__":
    main()
