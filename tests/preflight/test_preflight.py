"""What would end a study is told before its first step, and nothing is trained for it."""

import errno
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import core_fakes
import plugin_toys
import pytest

from ablate.catalog import encoders as registry
from ablate.config.study import Study, load_study
from ablate.design import encoder_spec
from ablate.driver.events import Event
from ablate.driver.scheduler import drive
from ablate.errors import BrokenError, UserError
from ablate.preflight import checks as preflight_checks
from ablate.preflight import step as preflight
from ablate.preflight.models import check_models
from ablate.preflight.step import preflight_step
from ablate.store.artifacts import Store
from ablate.strategies import Round
from ablate.worker.context import StepContext
from fusion_zoo import _source

ROOT = Path(__file__).parents[2]


def dies_early(ctx: StepContext) -> dict[str, Any]:
    raise ImportError("No module named 'a'", name="a")


def driven(
    study: Study, home: Path, executors: Mapping[str, Any], last: int | None = None
) -> tuple[list[Round], list[Event]]:
    events: list[Event] = []
    rounds = drive(study, last, "inline", home=home, on_event=events.append, executors=executors)
    return rounds, events


def kinds(home: Path) -> list[str]:
    return [line.split()[0] for line in core_fakes.executed(home)]


def test_it_comes_first_and_once_whatever_is_driven_later(
    fakes: Mapping[str, Any], own_home: Path
) -> None:
    study, executors = load_study("micro/rounds"), {**fakes, "preflight": core_fakes.passes}
    driven(study, own_home, executors, 1)
    assert kinds(own_home)[0] == "preflight"
    driven(study, own_home, executors, 2)
    assert kinds(own_home).count("preflight") == 1
    before = kinds(own_home)
    assert (
        driven(study, own_home, {**fakes, "preflight": core_fakes.refuses}, 2)[1] == []
    )  # nothing to do
    assert kinds(own_home) == before


@pytest.mark.parametrize("change", ["a package", "a plug-in", "the study", "a day later"])
def test_it_comes_again_where_what_it_saw_may_have_changed(
    small: Study, fakes: Mapping[str, Any], own_home: Path, monkeypatch: Any, change: str
) -> None:
    driven(small, own_home, {**fakes, "preflight": core_fakes.passes}, 1)
    match change:
        case "a package":
            newer = SimpleNamespace(read_text=lambda file: "Name: torch\nVersion: 99\n")
            monkeypatch.setattr(preflight, "distributions", lambda: [newer])
        case "a plug-in":
            monkeypatch.setattr(preflight, "sizes_and_times", lambda files: [len(files)])
        case "the study":
            small = load_study("micro/smoke", ["base.fusion.name=mini_gemini"])
        case "a day later":
            monkeypatch.setattr(preflight, "LASTS", 0.0)
    driven(small, own_home, {**fakes, "preflight": core_fakes.passes}, 2)
    assert kinds(own_home).count("preflight") == 2


def test_what_it_finds_ends_the_drive_and_is_forgotten(
    small: Study, fakes: Mapping[str, Any], own_home: Path
) -> None:
    told: list[str] = []
    with pytest.raises(
        BrokenError, match=r"^before anything was trained: a is amiss; mend a \(and"
    ):
        drive(
            small,
            backend="inline",
            home=own_home,
            on_event=lambda event: told.append(event.message),
            executors={**fakes, "preflight": core_fakes.refuses},
        )
    assert [line for line in told if line] == [
        "problem: a is amiss; mend a",
        "problem: so is b; mend b",
    ]
    assert not core_fakes.executed(own_home)
    assert not Store(own_home).failing()
    driven(small, own_home, {**fakes, "preflight": core_fakes.passes})
    assert kinds(own_home)[0] == "preflight"


def test_one_that_cannot_even_begin_says_so(
    small: Study, fakes: Mapping[str, Any], own_home: Path
) -> None:
    with pytest.raises(BrokenError, match=r"No module named 'a'; `ablate logs [0-9a-f]{12}` shows"):
        driven(small, own_home, {**fakes, "preflight": dies_early})


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ImportError("No module named 'filelock._api'"), "`ablate doctor` looks through"),
        (OSError(errno.ENOTCONN, "Transport endpoint is not connected"), "file system is there"),
        (RuntimeError("Found no NVIDIA driver on your system"), "`nvidia-smi`"),
    ],
)
def test_what_ends_every_step_alike_stops_the_study_at_its_first_failure(
    small: Study, fakes: Mapping[str, Any], own_home: Path, error: Exception, says: str
) -> None:
    def evaluate(ctx: StepContext) -> dict[str, Any]:
        core_fakes.note(ctx, "begin")
        raise RuntimeError("wrapped") from error

    with pytest.raises(
        BrokenError, match="as every other step would fail alike: evaluate clip"
    ) as e:
        driven(small, own_home, {**fakes, "evaluate": evaluate})
    assert says in str(e.value)
    begun = [line.split()[0] for line in core_fakes.executed(own_home, "begin")]
    assert begun.count("evaluate") == begun.count("finetune") == 1
    rounds, _ = driven(small, own_home, fakes)  # the same command goes on
    assert rounds[-1].decision
    assert len(set(core_fakes.executed(own_home))) == len(core_fakes.executed(own_home))


def test_a_failure_of_the_steps_own_stops_no_other(
    small: Study, fakes: Mapping[str, Any], own_home: Path
) -> None:
    def evaluate(ctx: StepContext) -> dict[str, Any]:
        if "convnext" in ctx.parents["finetune"].name:
            raise ValueError("of its own")
        return core_fakes.evaluate(ctx)

    rounds, _ = driven(small, own_home, {**fakes, "evaluate": evaluate})
    assert rounds[1].decision
    assert list(rounds[1].decision.failed.values()) == ["evaluate: of its own"]


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Installs the package of another author, and takes it away again."""

    def forget() -> None:
        for known in (_source.parsed, _source.options):
            known.cache_clear()
        registry._known.cache_clear()
        encoder_spec.cache_clear()
        for name in [name for name in sys.modules if name.startswith("their_package")]:
            del sys.modules[name]

    def install(*changes: tuple[str, str]) -> Study:
        plugin_toys.install(tmp_path / "site", *changes)
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
        forget()
        return load_study("micro/smoke", plugin_toys.OVERRIDES)

    yield install
    forget()


def context(study: Study, folder: Path) -> Any:
    """What the checks see of a step's context."""
    work = folder / "work"
    work.mkdir(exist_ok=True)
    spec = json.loads(json.dumps(preflight_step(study).spec))
    return SimpleNamespace(
        spec=spec, work=work, home=folder, device="cpu", infra={}, progress=lambda *a: None
    )


def test_models_of_another_package_pass(theirs: Any, tmp_path: Path) -> None:
    assert check_models(context(theirs(), tmp_path)) == []


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("self._check(maps)\n", "raise KeyError('gate')\n", r"KeyError: 'gate' \(.*added.py:\d+\)"),
        ("[self.scale * total]", "[total[:, 1:]]", r"it gives tokens of \[\(1, 15, 96\)\], but"),
        ("    def flops(self)", "    def cost(self)", "it does not define `flops`"),
        ("for shape in self.shapes)\n\n", "for shape in self.shapes) / 2\n\n", "its flops are"),
        ("Segment(grid[0] * grid[1]", "Segment(2000", "leave no room for text|it gives tokens of"),
        ("return self.stem(pixels)", "return self.stem(pixels)[:, 1:]", r"\(1, 23, 4, 4\), but"),
        ("    def features(", "    def features_of(", "it does not define `features`"),
    ],
)
def test_a_mistake_in_another_package_is_told_with_its_place(
    theirs: Any, tmp_path: Path, old: str, new: str, says: str
) -> None:
    problems = check_models(context(theirs((old, new)), tmp_path))
    assert re.search(says, str(problems[0]))
    assert len(set(map(str, problems))) == len(problems)


def test_encoders_that_cannot_be_loaded_are_an_error_line(theirs: Any) -> None:
    with pytest.raises(UserError, match=r"their_package.encoders:SPECS cannot be loaded: Import"):
        theirs(
            ("from torch import nn\n\n\nclass Patchy", "from torch import nil\n\n\nclass Patchy")
        )


def test_weights_that_are_damaged_or_gone_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = context(load_study("micro/smoke"), tmp_path)
    (tmp_path / "micro").mkdir()
    (tmp_path / "micro" / "clip-micro.safetensors").write_bytes(b"no weights")
    monkeypatch.setattr("ablate.preflight.models.WEIGHTS", tmp_path)
    said = "\n".join(map(str, check_models(ctx)))
    assert "encoder 'clip-micro@32': SafetensorError" in said
    assert "encoder 'pix2struct-micro@128': FileNotFoundError" in said


def test_too_little_room_on_the_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = SimpleNamespace(free=2**20)
    monkeypatch.setattr("ablate.preflight.models.shutil.disk_usage", lambda folder: free)
    [problem] = check_models(context(load_study("micro/smoke"), tmp_path))
    assert problem.broken
    assert "0.0 GiB are free" in problem.what


def rows(tmp_path: Path, *answers: str) -> Study:
    """A study that learns from a file of its own with these answers."""
    turns = [
        {"conversations": [{"from": "human", "value": "?"}, {"from": "gpt", "value": answer}]}
        for answer in answers
    ]
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(f"{json.dumps(turn)}\n" for turn in turns))
    names = ("pairs", "conversations")
    data = json.dumps({name: {"conversations": str(file)} for name in names})
    return load_study("micro/smoke", [f"data={data}"])


def test_data_with_nothing_to_learn_is_told(tmp_path: Path) -> None:
    assert not list(preflight_checks._data(context(rows(tmp_path, "", "yes"), tmp_path)))
    problems = list(preflight_checks._data(context(rows(tmp_path, "", " "), tmp_path)))
    assert all("every answer of" in problem.what for problem in problems)
    assert problems


def test_a_package_without_what_is_imported_of_it_is_named_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(preflight_checks, "MODULES", ("hollow._api", "hollow.other", "json"))
    first, second = preflight_checks._packages()
    assert (first.broken, second.broken) == (True, True)
    assert first.what.startswith("`import hollow._api` fails: No module named 'hollow._api'")
    assert first.remedy == f"{tmp_path} hides the installed: take it off PYTHONPATH"


def run(home: Path, site: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command of a user who has the packages in `site`."""
    paths = [str(site), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "ABLATE_HOME": str(home)}
    command = [sys.executable, "-m", "ablate", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=ROOT)


@pytest.mark.slow
def test_a_hollow_package_ends_a_run_in_its_first_seconds(tmp_path: Path, own_home: Path) -> None:
    (tmp_path / "site" / "filelock").mkdir(parents=True)
    (tmp_path / "site" / "filelock" / "__init__.py").touch()
    done = run(own_home, tmp_path / "site", "run", "micro/smoke")
    assert done.returncode == 1
    assert "from 'filelock'" in done.stderr
    assert f"{tmp_path / 'site'} hides the installed filelock" in done.stderr
    assert not list(own_home.glob("store/*/*"))
    assert next(own_home.glob("logs/*")).name.startswith("preflight-")


def logged_out_wandb() -> ModuleType:
    """The package as it says of itself that nobody is logged in; its own import takes seconds."""
    spec = find_spec("wandb")
    assert spec is not None
    wandb = module_from_spec(spec)
    wandb.api = SimpleNamespace(api_key=None)  # type: ignore[attr-defined]
    return wandb


def test_a_tracker_without_its_package_or_account_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def told(tracker: str) -> list[str]:
        study = load_study("micro/smoke", [f"infra.kinds.finetune.tracker={tracker}"])
        return [*map(str, preflight_checks._trackers(context(study, tmp_path)))]

    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setitem(sys.modules, "wandb", logged_out_wandb())
    assert told("tensorboard") == []
    assert told('{"name": "wandb", "offline": true}') == []
    [account] = told("wandb")
    assert "nobody is logged in" in account
    monkeypatch.setattr("ablate.trackers._interface.find_spec", lambda name: None)
    [package] = told("tensorboard")
    assert package == (
        "infra.tracker needs the package tensorboard, which is not installed here; "
        "`pip install 'ablate-vlm[tensorboard]'`, or leave infra.tracker out"
    )
