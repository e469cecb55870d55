"""MLflow and trackio, of which the tests have the interface alone: a stage that was stopped goes on
in its run, and each of its steps is told once."""

import sys
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from training_toys import Context, Make

from ablate.trackers import tracking
from ablate.worker.run_labels import RunLabels

LABELS = RunLabels("micro/smoke", 2, "clip-micro@32")


@dataclass
class TrackioRun:
    """A run of trackio's, known by its name."""

    name: str
    options: dict[str, Any]
    config: dict[str, Any] = field(default_factory=dict)
    rows: list[tuple[int | None, dict[str, float]]] = field(default_factory=list)
    finished: int = 0

    def log(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.rows.append((step, metrics))

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture
def trackio(monkeypatch: pytest.MonkeyPatch) -> dict[str, TrackioRun]:
    """The runs of a trackio that stands in for the package."""
    runs: dict[str, TrackioRun] = {}

    def init(name: str, resume: str = "never", **options: Any) -> TrackioRun:
        assert resume == "allow" or name not in runs
        return runs.setdefault(name, TrackioRun(name, options))

    monkeypatch.setitem(sys.modules, "trackio", SimpleNamespace(init=init))
    monkeypatch.delitem(sys.modules, "ablate.trackers._trackio_logger", raising=False)
    monkeypatch.setenv("TRACKIO_DIR", "")
    return runs


class MlflowServer:
    """What MLflow's client asks of a server."""

    def __init__(self) -> None:
        self.uri = ""
        self.runs: dict[str, SimpleNamespace] = {}

    def client(self, uri: str) -> "MlflowServer":
        self.uri = uri
        return self

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str, artifact_location: str | None = None) -> str:
        return f"experiment {name}"

    def create_run(self, experiment_id: str, tags: dict[str, str]) -> SimpleNamespace:
        info = SimpleNamespace(run_id=f"run-{len(self.runs)}", experiment_id=experiment_id)
        run = SimpleNamespace(info=info, tags=tags, params={}, rows=[], states=[])
        self.runs[info.run_id] = run
        return run

    def get_run(self, run_id: str) -> SimpleNamespace:
        return self.runs[run_id]

    def log_batch(self, run_id: str, metrics: Any = (), params: Any = ()) -> None:
        run = self.runs[run_id]
        run.params |= {param.key: param.value for param in params}
        run.rows += [(metric.step, metric.key, metric.value) for metric in metrics]

    def set_terminated(self, run_id: str, status: str) -> None:
        self.runs[run_id].states.append(status)


@pytest.fixture
def mlflow(monkeypatch: pytest.MonkeyPatch) -> MlflowServer:
    """The server of an MLflow that stands in for the package."""
    server = MlflowServer()
    modules: dict[str, dict[str, Any]] = {
        "mlflow": {"set_tracking_uri": lambda uri: None},
        "mlflow.tracking": {"MlflowClient": server.client},
        "mlflow.tracking.context": {},
        "mlflow.tracking.context.registry": {"resolve_tags": dict},
        "mlflow.entities": {"Metric": SimpleNamespace, "Param": SimpleNamespace},
        "mlflow.utils": {},
        "mlflow.utils.mlflow_tags": {"MLFLOW_RUN_NAME": "mlflow.runName"},
    }
    for name, contents in modules.items():
        module = ModuleType(name)
        module.__dict__.update(contents)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr("lightning.pytorch.loggers.mlflow._MLFLOW_AVAILABLE", True)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return server


def stopped_and_resumed(make_context: Make, tracker: dict[str, Any], tmp_path: Any) -> Context:
    """A step that is stopped after its third row, and goes on after the second."""
    ctx = make_context(infra={"tracker": tracker})
    ctx.home, ctx.drive = tmp_path / "home", tmp_path / "drive"
    LABELS.write(ctx.drive, ctx.key)

    def attempt(first: int, last: int) -> None:
        with tracking(ctx, "train", first - 1) as tracked:
            ctx.truncate_log(first - 1)
            for step in range(first, last + 1):
                row = {"step": step, "loss": 1.0 / step, "lr": {"llm": 0.5}}
                ctx.log(row)
                tracked.tell("train", row)
            if last < 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(1, 3)
    attempt(3, 4)
    return ctx


def test_trackio_has_each_step_once_in_one_run(
    make_context: Make, trackio: dict[str, TrackioRun], tmp_path: Any
) -> None:
    tracker = {"name": "trackio", "project": "mine", "space": ""}
    ctx = stopped_and_resumed(make_context, tracker, tmp_path)
    [run] = trackio.values()
    assert run.name.startswith("clip-micro@32 finetune ")
    assert run.options["project"] == "mine"
    assert run.options["group"] == "micro/smoke/round-2"
    assert run.options["space_id"] is None
    assert run.config["step"]["key"] == ctx.key
    assert [step for step, _ in run.rows] == [1, 2, 3, 4]
    assert run.rows[3][1] == {"train/loss": 0.25, "train/lr/llm": 0.5}
    assert run.finished == 2


def test_mlflow_has_each_step_once_in_one_run(
    make_context: Make, mlflow: MlflowServer, tmp_path: Any
) -> None:
    ctx = stopped_and_resumed(make_context, {"name": "mlflow", "uri": ""}, tmp_path)
    [run] = mlflow.runs.values()
    assert mlflow.uri == f"sqlite:///{ctx.home / 'tracking' / 'mlflow.db'}"
    assert run.info.experiment_id == "experiment micro/smoke"
    assert run.tags == {
        "round": "2",
        "candidate": "clip-micro@32",
        "stage": "finetune",
        "step": ctx.key,
        "mlflow.runName": "clip-micro@32 finetune",
    }
    assert run.params["candidate"] == "clip-micro@32"
    assert [(step, name) for step, name, _ in run.rows] == [
        (step, name) for step in (1, 2, 3, 4) for name in ("train/loss", "train/lr/llm")
    ]
    assert run.states == ["FAILED", "FINISHED"]
