"""The training stages as the worker runs them, from the store and into it."""

from itertools import pairwise
from pathlib import Path

import torch
from training_toys import Make

from ablate.store.artifacts import Store
from ablate.store.steps import Step
from ablate.train.restore import load_trained
from ablate.worker.context import RunContext
from ablate.worker.run import run_chain


def test_the_worker_runs_and_commits_the_three_stages(make_context: Make, tmp_path: Path) -> None:
    specs = [
        make_context(name, train=train, steps=2).spec
        for name, train in (
            ("prealign", {"projector": 1e-3, "encoders": 1e-3}),
            ("pretrain", {"projector": 1e-3}),
            ("finetune", {"projector": 1e-3, "llm": 1e-3}),
        )
    ]
    title = "clip-micro@32"
    prealign = Step("prealign", title, specs[0])
    pretrain = Step("pretrain", "toy", specs[1], {f"prealign:{title}": prealign})
    finetune = Step("finetune", "toy", specs[2], {"pretrain": pretrain})
    steps = [prealign, pretrain, finetune]

    outcome = run_chain(tmp_path / "home", steps, RunContext())
    assert (outcome.status, outcome.message) == ("done", "")

    store = Store(tmp_path / "home")
    aligned, trained = (load_trained(store.verified(step)) for step in (prealign, finetune))
    for one, other in zip(
        aligned.parts["encoders"].parameters(), trained.parts["encoders"].parameters(), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    record = store.record(finetune)
    assert record is not None
    assert record["result"]["steps"] == 2
    assert len((store.folder(finetune) / "metrics.jsonl").read_text().splitlines()) == 2
    assert not (store.folder(finetune) / "checkpoint").exists()


def test_a_loss_that_is_not_finite_fails_the_step_with_its_reason(
    make_context: Make, tmp_path: Path
) -> None:
    spec = make_context(train={"projector": 1e30, "llm": 1e30}, clip=1e30, steps=5).spec
    step = Step("finetune", "toy", spec)
    outcome = run_chain(tmp_path / "home", [step], RunContext())
    assert outcome.status == "failed"
    assert "is nan at step" in outcome.message or "is inf at step" in outcome.message
    failure = Store(tmp_path / "home").failure(step)
    assert failure is not None
    assert failure["error"]["message"] == outcome.message


def test_a_recipe_of_five_stages_trains_each_from_the_one_before(
    make_context: Make, tmp_path: Path
) -> None:
    """What a stage does not train comes from the chain before it, whatever its kind."""
    stages = {
        "prealign": {"projector": 1e-3, "encoders": 1e-3},
        "pretrain": {"projector": 1e-3},
        "between": {"llm": 1e-3},
        "finetune": {"projector": 1e-3, "llm": 1e-3},
        "last": {"projector": 1e-3},
    }
    kinds = {"between": "pretrain", "last": "finetune"}
    chain: list[Step] = []
    for name, train in stages.items():
        spec = make_context(name, train=train, steps=2).spec
        kind = kinds.get(name, name)
        slug = "clip-micro@32" if kind == "prealign" else "toy"
        role = {
            f"{one.kind}:{one.slug}" if one.kind == "prealign" else one.kind: one
            for one in chain[-1:]
        }
        chain.append(Step(kind, slug, spec, role, name if name != kind else ""))
    outcome = run_chain(tmp_path / "home", chain, RunContext())
    assert (outcome.status, outcome.message) == ("done", "")

    store = Store(tmp_path / "home")
    models = [load_trained(store.verified(step)) for step in chain]
    for number, (before, after) in enumerate(pairwise(models), start=1):
        trained = [*stages.values()][number]
        for part in ("encoders", "fusion", "projector", "llm"):
            if part == "projector" and number == 1:
                continue  # that of an expert alone fits no mixture
            same = all(
                torch.equal(one, other)
                for one, other in zip(
                    before.parts[part].parameters(), after.parts[part].parameters(), strict=True
                )
            )
            assert same == (part not in trained or part == "fusion"), (number, part)
    assert (store.logs(chain[2]) / "attempt-1.log").is_file()
    assert store.logs(chain[2]).name.startswith("between-toy-")
