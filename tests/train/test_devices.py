"""Several devices do what one does, up to the order in which floats are added up."""

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import doc_examples
import pytest
import torch
from rank_toys import Job
from safetensors.torch import load_file, save_file
from training_toys import Make, assert_same, own_data, weights

from ablate.catalog import llms
from ablate.model.mllm import Mllm
from ablate.store.steps import Step
from ablate.train import checkpoint, sharing
from ablate.train.objectives.sft import Sft
from fusion_zoo import options

LEARNING = {"projector": 2e-3, "llm": 1e-3, "encoders": 1e-3}
SETTINGS: dict[str, Any] = {
    "steps": 7,
    "batch_size": 5,  # 2 processes have 3 and 2 samples, of 4 the last has none in a part
    "train": LEARNING,
    "warm_projector": 2,
    "group_by_length": True,
}
ENCODERS = ("clip-micro@32", "sam-micro@32")
INJECTING = {"every": 1, "heads": 2}
INSIDE = {"name": "llava_hr", "options": options("llava_hr")}
DEEPSPEED = pytest.param("deepspeed", marks=pytest.mark.deepspeed)
STRATEGIES = ["ddp", "fsdp", DEEPSPEED]
MakeJob = Callable[..., Job]


@pytest.fixture
def make_job(make_context: Make, tmp_path: Path) -> MakeJob:
    """Jobs by name; `tasks` processes, and what `infra` and the stage are to have else."""

    def make(name: str, tasks: int = 1, infra: dict[str, Any] | None = None, **stage: Any) -> Job:
        ctx = make_context(f"{name}-context", **{**SETTINGS, **stage})
        return Job(ctx, tmp_path / name, tasks, {"micro_batch_size": 2, **(infra or {})})

    return make


def with_text(folder: Path) -> dict[str, Any]:
    """Six rows with an image and nine of text alone."""
    source = own_data(folder, broken=())
    said = [("human", "how many are there"), ("gpt", "three")]
    turns = [{"from": who, "value": value} for who, value in said]
    (folder / "text.json").write_text(json.dumps([{"conversations": turns}] * 9))
    text = {"conversations": str(folder / "text.json")}
    return {"mix": {"own": source, "text": text}, "canvas": 32}


def assert_close(job: Job, other: Job) -> None:
    """The same loss curve and weights, but for float32 sums in another order.

    Measured: losses to 1e-7, gradient norms to 3e-7 of themselves, weights to 1e-6.
    """
    for row, expected in zip(job.rows(), other.rows(), strict=True):
        assert (row["step"], row["tokens"]) == (expected["step"], expected["tokens"])
        assert row["loss"] == pytest.approx(expected["loss"], rel=2e-6)
        assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-5)
        assert row["lr"] == expected["lr"]
    left, right = weights(job.artifact), weights(other.artifact)
    assert left.keys() == right.keys()
    for name, tensor in left.items():
        said = f"{name}: {{}}".format
        torch.testing.assert_close(tensor, right[name], rtol=0, atol=2e-5, msg=said)


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize(
    ("strategy", "tasks"),
    [
        ("ddp", 4),  # two do so in the tests below
        pytest.param("fsdp", 3, marks=pytest.mark.slow),  # as where weights of parents are shared
        pytest.param("deepspeed", 2, marks=pytest.mark.deepspeed),
        pytest.param("deepspeed", 3, marks=pytest.mark.deepspeed),
    ],
)
def test_several_processes_do_the_steps_of_one(
    make_job: MakeJob, tmp_path: Path, strategy: str, tasks: int
) -> None:
    data = with_text(tmp_path)
    alone = make_job("alone", data=data).done()
    shared = make_job("shared", tasks, {"strategy": strategy}, data=data).done()
    assert_close(shared, alone)


@pytest.mark.slow
@pytest.mark.usefixtures("llm_without_dropout")
def test_two_nodes_share_weights_within_and_gradients_between_them(make_job: MakeJob) -> None:
    alone = make_job("alone", steps=4).done()
    infra = {"strategy": "hsdp", "checkpoint_every_steps": 2}
    job = make_job("shared", 4, infra, steps=4).with_(nodes=2)
    outcome = job.with_(prepare=dies(3, 3, lambda: killed_with(job, 2))).run()
    assert outcome.status == "lost"
    state = job.work / "checkpoint" / "2"
    assert sorted(path.name for path in state.iterdir()) == ["0.safetensors", "1.safetensors"]
    assert_close(job.done(), alone)


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize(
    ("fusion", "options", "strategy"),
    [
        ("question_gate", {}, "ddp"),
        pytest.param("question_gate", {}, "fsdp", marks=pytest.mark.slow),
        ("cross_attention", INJECTING, "ddp"),
        pytest.param("cross_attention", INJECTING, "fsdp", marks=pytest.mark.slow),
    ],
)
def test_a_fusion_that_asks_or_injects_learns_the_same_in_two_processes(
    make_job: MakeJob,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    strategy: str,
    fusion: str,
    options: dict[str, int],
) -> None:
    """Also where a process has text alone while the other has images."""
    doc_examples.install(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    more = {"data": with_text(tmp_path), "train": {**LEARNING, "fusion": 2e-3}, "warm_projector": 0}
    alone = make_job("alone", **more)
    shared = make_job("shared", 2, {"strategy": strategy}, **more)
    for job in (alone, shared):
        how = {"name": fusion, "grid": [2, 2], "options": options}
        job.ctx.spec["model"]["fusion"] = how
        job.done()
    assert_close(shared, alone)


def says_what_it_holds(task: int) -> None:
    """Prepares processes that say what they hold of the model before it is shared out."""
    shard = sharing.shard

    def told(model: Mllm, *more: Any) -> None:
        held = [tensor for tensor in [*model.parameters(), *model.buffers()] if not tensor.is_meta]
        os.write(2, f"process {task} holds {'weights' if held else 'nothing'}\n".encode())
        shard(model, *more)

    sharing.shard = told


@pytest.mark.usefixtures("llm_without_dropout")
def test_where_weights_are_shared_the_first_process_alone_reads_them_and_those_of_parents(
    make_job: MakeJob, make_context: Make
) -> None:
    """Also of a fusion inside the base encoder."""
    aligned = make_context("aligned", steps=2, train={"projector": 2e-3, "encoders": 1e-3}).spec
    pretrained = make_context("pretrained", encoders=ENCODERS, steps=2, train={"projector": 2e-3})
    pretrained.spec["model"]["fusion"] |= INSIDE
    parents = {f"prealign:{ENCODERS[0]}": Step("prealign", ENCODERS[0], aligned)}
    parents["pretrain"] = Step("pretrain", "step", pretrained.spec, dict(parents))
    one = {kind: {"devices": 1} for kind in ("prealign", "pretrain")}
    alone, shared = (
        make_job(name, tasks, {"strategy": "fsdp", "kinds": one}, encoders=ENCODERS, steps=3).with_(
            parents=parents, prepare=says_what_it_holds
        )
        for name, tasks in (("alone", 1), ("shared", 3))
    )
    for job in (alone, shared):
        job.ctx.spec["model"]["fusion"] |= INSIDE
        job.done()
    assert_close(shared, alone)
    told = sorted(re.findall(r"process . holds \w+", shared.log()))
    assert told == [f"process {task} holds {'nothing' if task else 'weights'}" for task in range(3)]


def test_weights_that_are_not_as_their_config_says_are_not_shared_out(
    make_job: MakeJob, llm_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(llm_folder, tmp_path / "untied")
    weights = load_file(folder / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + 1  # the config ties the two
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    job = make_job("job", 2, {"strategy": "fsdp"})
    job.ctx.spec["model"]["llm"] = llms.resolve(str(folder)).to_json()
    outcome = job.run()
    assert outcome.status == "failed"
    assert "its files hold other tensors than its config.json says" in outcome.message


def dies(task: int, step: int, how: Callable[[], Any]) -> Callable[[int], None]:
    """Prepares processes of which one does `how` in the forward pass number `step`."""

    def prepare(number: int) -> None:
        forward, passes = Mllm.forward, iter(range(1, step))

        def deadly(model: Mllm, *given: Any, **more: Any) -> Any:
            if number == task and next(passes, None) is None:
                how()
            return forward(model, *given, **more)

        Mllm.forward = deadly  # type: ignore[method-assign]

    return prepare


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def killed_with(job: Job, state: int) -> None:
    """Killed as soon as this state of the job is there."""
    deadline = time.monotonic() + 240
    while not list(job.home.glob(f"work/*/*/*/checkpoint/{state}")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed()


def failed() -> None:
    raise RuntimeError("out of something")


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize("tasks", [1, pytest.param(3, marks=pytest.mark.slow)])
@pytest.mark.parametrize("strategy", ["fsdp", DEEPSPEED])
def test_shares_of_a_state_become_a_state_of_another_number_of_processes(
    make_job: MakeJob, tmp_path: Path, tasks: int, strategy: str
) -> None:
    data, infra = with_text(tmp_path), {"strategy": strategy, "checkpoint_every_steps": 2}
    alone = make_job("alone", data=data).done()
    two = make_job("moved", 2, infra, data=data)
    assert two.with_(prepare=dies(1, 10, lambda: killed_with(two, 4))).run().status == "lost"
    states = [path.name for path in (two.work / "checkpoint").iterdir()]
    assert states == ["4"]
    assert len(list((two.work / "checkpoint" / "4").iterdir())) == 2
    assert checkpoint.step_of(two.work / "checkpoint") == 4
    assert_close(two.with_(tasks=tasks).done(), alone)


@pytest.mark.parametrize(
    ("strategy", "task"),
    [
        pytest.param("ddp", 0, marks=pytest.mark.slow),
        ("ddp", 1),
        pytest.param("fsdp", 1, marks=pytest.mark.slow),
        pytest.param("deepspeed", 0, marks=pytest.mark.deepspeed),
        pytest.param("deepspeed", 1, marks=pytest.mark.deepspeed),
    ],
)
def test_a_process_killed_in_a_step_ends_the_others_and_the_step_goes_on_bit_for_bit(
    make_job: MakeJob, tmp_path: Path, strategy: str, task: int
) -> None:
    mark = tmp_path / "died"

    def marked() -> None:
        mark.touch()
        killed()

    infra = {"strategy": strategy, "checkpoint_every_steps": 2}
    calm = make_job("calm", 2, infra).done()
    job = make_job("killed", 2, infra)
    outcome = job.with_(prepare=dies(task, 10, marked)).run()  # in the middle of step 5
    assert time.time() - mark.stat().st_mtime < 120
    assert outcome.status == "lost"
    assert task == 0 or outcome.message == "process 1 of 2 died"
    job.done()
    assert_same(weights(job.artifact), weights(calm.artifact))
    assert job.rows() == calm.rows()


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.parametrize(("first", "then"), [("deepspeed", "ddp"), ("ddp", "deepspeed")])
@pytest.mark.deepspeed
def test_a_state_goes_on_under_another_strategy(make_job: MakeJob, first: str, then: str) -> None:
    alone = make_job("alone").done()
    job = make_job("moved", 2, {"strategy": first, "checkpoint_every_steps": 2})
    assert job.with_(prepare=dies(1, 10, lambda: killed_with(job, 4))).run().status == "lost"
    assert checkpoint.step_of(job.work / "checkpoint") == 4
    assert_close(job.with_(infra={**job.infra, "strategy": then}).done(), alone)


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.deepspeed
def test_deepspeed_computes_in_bfloat16_with_weights_and_gradients_in_float32(
    make_job: MakeJob,
) -> None:
    infra = {"strategy": "deepspeed", "micro_batch_size": 1}  # the same rounding in any process
    alone = make_job("alone", 1, infra, precision="bf16", steps=4).done()
    shared = make_job("shared", 2, infra, precision="bf16", steps=4).done()
    assert_close(shared, alone)


@pytest.mark.deepspeed
def test_the_processes_of_a_job_do_several_steps_by_deepspeed(make_job: MakeJob) -> None:
    infra = {"strategy": "deepspeed"}
    alone = make_job("alone", 2, infra).done()
    first = make_job("first", 2, infra, steps=3)
    second = make_job("second", 2, infra).with_(before=(first.step,)).done()
    assert_same(weights(second.artifact), weights(alone.artifact))


def test_an_error_of_any_process_is_the_failure_of_the_step(make_job: MakeJob) -> None:
    job = make_job("job", 2)
    outcome = job.with_(prepare=dies(1, 3, failed)).run()
    assert (outcome.status, outcome.message) == ("failed", "out of something")
    assert "RuntimeError: out of something" in job.log()


@pytest.mark.parametrize("strategy", ["ddp", DEEPSPEED])
def test_a_loss_that_is_not_finite_stops_all_and_keeps_the_last_good_state(
    make_job: MakeJob, strategy: str
) -> None:
    """Also if it is still being written then, which takes the leader a while."""

    def prepare(number: int) -> None:
        loss, passes, commit = Sft.__call__, iter(range(6)), checkpoint.commit

        def slow_commit(folder: Path, step: int) -> None:
            time.sleep(0.5 * (step == 3))
            commit(folder, step)

        checkpoint.commit = slow_commit

        def spoilt(objective: Sft, logits: Any, targets: Any) -> Any:
            bad = number == 1 and next(passes, None) is None
            return loss(objective, logits, targets) * (float("nan") if bad else 1.0)

        Sft.__call__ = spoilt  # type: ignore[method-assign]

    infra = {"strategy": strategy, "checkpoint_every_steps": 1}
    job = make_job("job", 2, infra).with_(prepare=prepare)
    outcome = job.run()
    assert outcome.status == "failed"
    assert outcome.message.startswith("the loss is nan at step 4 of 7")
    assert checkpoint.step_of(job.work / "checkpoint") == 3
    assert [row["step"] for row in job.rows(job.work)] == [1, 2, 3]


def test_fewer_processes_than_were_asked_for_do_not_train(make_job: MakeJob) -> None:
    outcome = make_job("job", 2, {"devices": 3}).run()
    assert outcome.status == "failed"
    assert outcome.message.startswith("the step asks for 3 processes on each of 1 nodes, but its")


def test_a_step_by_a_deepspeed_that_is_too_old_fails_in_one_line(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablate.config.infra.version", lambda name: "0.19.7")
    outcome = make_job("job", 2, {"strategy": "deepspeed"}).run()
    assert outcome.status == "failed"
    assert outcome.message == (
        "infra.strategy is deepspeed, which needs DeepSpeed 0.19.8 or newer, but 0.19.7 is "
        "installed here; `pip install 'deepspeed>=0.19.8'`, or choose ddp or fsdp"
    )


def test_processes_that_a_step_has_no_use_for_wait(make_job: MakeJob) -> None:
    few = make_job("few", 3, {"kinds": {"finetune": {"devices": 2}}}, steps=3).done()
    two = make_job("two", 2, steps=3).done()
    assert_same(weights(few.artifact), weights(two.artifact))


def test_broken_images_of_all_processes_count_against_one_budget(
    make_job: MakeJob, tmp_path: Path
) -> None:
    source = own_data(tmp_path, broken=(1, 4), max_bad=2)
    job = make_job("within", 2, data=source, steps=4).done()
    found = (job.artifact / "bad-images.jsonl").read_text().splitlines()
    assert sorted(json.loads(line)[1] for line in found) == [2, 5]
    more = own_data(tmp_path, broken=(1, 2, 4), max_bad=2)
    outcome = make_job("beyond", 2, data=more, steps=4).run()
    assert outcome.status == "failed"
    assert outcome.message.startswith("own: 3 bad rows, but max_bad allows 2; the first: ")


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.slow  # one of each sort does in the tests around
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_encoders_of_every_family_train_in_shares(make_job: MakeJob, strategy: str) -> None:
    names = ("clip", "convnext", "eva02", "pix2struct", "sam", "dinov2")
    sizes = [64 if name == "dinov2" else 32 for name in names]
    encoders = tuple(f"{name}-micro@{size}" for name, size in zip(names, sizes, strict=True))
    alone, job = (
        make_job(f"of-{tasks}", tasks, {"strategy": strategy}, encoders=encoders, steps=2).done()
        for tasks in (1, 2)
    )
    assert len(list(job.artifact.glob("encoder-*.safetensors"))) == len(names)
    losses = [[row["loss"] for row in each.rows()] for each in (job, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.usefixtures("llm_without_dropout")
@pytest.mark.slow  # with weights of parents it does above
def test_a_fusion_inside_the_base_encoder_trains_in_shares_of_weights(make_job: MakeJob) -> None:
    jobs = [
        make_job(f"of-{tasks}", tasks, {"strategy": "fsdp"}, encoders=ENCODERS, steps=3)
        for tasks in (1, 2)
    ]
    for job in jobs:
        job.ctx.spec["model"]["fusion"] |= INSIDE
        job.done()
    assert_close(jobs[1], jobs[0])
