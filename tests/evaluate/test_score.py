"""Scoring asks every question with its own image, survives being killed, and disturbs nothing."""

import hashlib
import json
import os
import random
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drivers import until
from forks import codes, forked
from PIL import Image
from transformers import LlamaConfig

from ablate.bake.tokenizer import build_tokenizer
from ablate.catalog import suites
from ablate.catalog.data_sources import WorldData
from ablate.data.chat import Chat
from ablate.data.images import read_image
from ablate.data.prepare import prepare
from ablate.data.tiles import Tiles
from ablate.errors import UserError
from ablate.evaluate import asked, score
from ablate.evaluate.adapter import AblateLMM
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.asks import Ask
from ablate.evaluate.taskfiles import read_questions
from ablate.files import read_json, write_json
from ablate.trackers.tensorboard import Tensorboard
from ablate.worker.process_group import ProcessGroup


class Oracle(torch.nn.Module):
    """Knows the answer to each prompt about each image; `say` may turn it into another."""

    spec = SimpleNamespace(llm=SimpleNamespace(context=4096, width=128), encoders=())
    tiles = Tiles.whole(16)
    sees_each_question = False
    reads_beginnings_once = False
    llm = SimpleNamespace(config=LlamaConfig())

    def __init__(self, data, say=lambda row: row["answer"]):
        super().__init__()
        self.tokenizer = build_tokenizer()
        self.asked = 0
        self.answers = {}
        chat = Chat(self.tokenizer)
        for rows in read_questions(data).values():
            for row in rows:
                turn = {"role": "user", "content": f"<image>\n{row['question']}"}
                prompt = chat.prompts([[turn]])[0].tolist()
                pixels = read_image(data / row["image"]).tobytes()
                key = (hashlib.sha256(pixels).digest(), tuple(prompt))
                self.answers[key] = self.tokenizer(say(row), add_special_tokens=False).input_ids

    def see(self, pixels, sizes):
        assert sizes is None
        digests = (hashlib.sha256(one.numpy().tobytes()).digest() for one in pixels)
        return [torch.tensor([list(digest)], dtype=torch.uint8) for digest in digests]

    def generate(self, batch, max_new_tokens, stop_ids, visual):
        assert stop_ids == [self.tokenizer.eos_token_id]
        self.asked += len(batch.input_ids)
        assert batch.image_rows.tolist() == list(range(len(batch.input_ids)))
        keys = [
            (bytes(image.flatten().tolist()), tuple(ids[mask].tolist()))
            for image, ids, mask in zip(visual, batch.input_ids, batch.attention_mask, strict=True)
        ]
        return [self.answers[key][:most] for key, most in zip(keys, max_new_tokens, strict=True)]


@pytest.fixture
def answered_by(monkeypatch):
    """Puts a model in the place of the trained candidate."""

    def put(model):
        monkeypatch.setattr(
            Answerer, "load", lambda folder: Answerer(model, build_tokenizer(), "oracle")
        )
        return model

    return put


def data_of(ctx):
    return prepare(ctx.spec["suite"]["data"], ctx.home / "data")


def answers(ctx):
    return [json.loads(line) for line in (ctx.work / "answers.jsonl").read_text().splitlines()]


def test_each_question_is_asked_with_its_own_image_and_the_right_answers_score_100(
    step, answered_by
):
    ctx = step()
    answered_by(Oracle(data_of(ctx)))
    result = score.evaluate(ctx)
    assert {task: found["value"] for task, found in result["scores"].items()} == {
        task["task"]: 100.0 for task in ctx.spec["suite"]["tasks"]
    }
    assert result["composite"] == 100.0
    assert result["questions"] == 32 == sum(found["n"] for found in result["scores"].values())
    rows = answers(ctx)
    assert [(row["task"], row["id"]) for row in rows] == sorted(
        (row["task"], row["id"]) for row in rows
    )
    folder = ctx.home / "data" / read_json(ctx.work / "data.json")["folder"]
    assert all((folder / row["image"]).is_file() for row in rows)
    assert all(row["answer"] == row["truth"] for row in rows)
    assert ctx.seen[-1][:2] == (32, 32)


def test_scores_are_shown_in_a_tracker_as_one_row(step, answered_by, monkeypatch):
    rows = []
    monkeypatch.setattr(Tensorboard, "log", lambda *told: rows.append(told[2:]))
    ctx = step()
    ctx.infra = {"tracker": {"name": "tensorboard"}}
    ctx.step_kind = ctx.stage = ctx.slug = ctx.key = "evaluate"
    ctx.drive, ctx.logged = ctx.work, list
    answered_by(Oracle(data_of(ctx)))
    result = score.evaluate(ctx)
    by_task = {f"score/{task}": 100.0 for task in result["scores"]}
    assert rows == [({"score/composite": 100.0, **by_task}, 0)]


def test_wrong_answers_score_0(step, answered_by):
    ctx = step()
    wrong = {"yes": "no", "no": "yes"}
    answered_by(Oracle(data_of(ctx), lambda row: wrong.get(row["answer"], "things")))
    assert score.evaluate(ctx)["composite"] == 0.0


def test_always_saying_yes_or_no_earns_of_pope_what_is_so(step, answered_by):
    """F1 would give 68 to the one and 0 to the other, and to a guess whatever it leans to."""
    for word in ("yes", "no"):
        ctx = step(work=word)
        answered_by(Oracle(data_of(ctx), lambda row, word=word: word))
        result = score.evaluate(ctx)
        truths = [row["truth"] for row in answers(ctx) if row["task"] == "abl_pope"]
        expected = 100.0 * truths.count(word) / len(truths)
        assert result["scores"]["abl_pope"]["value"] == pytest.approx(expected)


def test_answers_that_the_scorer_cannot_read_are_counted_in_the_record(step, answered_by):
    """Neither yes nor no, and blanks: POPE reads none of them, the others no blank."""
    ctx = step()
    answered_by(Oracle(data_of(ctx), lambda row: "red circle"))
    result = score.evaluate(ctx)
    told = {task: found["unread"] for task, found in result["scores"].items()}
    assert told == {**dict.fromkeys(told, 0), "abl_pope": result["scores"]["abl_pope"]["n"]}
    blank = step(work="blank")
    answered_by(Oracle(data_of(blank), lambda row: ""))
    result = score.evaluate(blank)
    assert all(found["unread"] == found["n"] for found in result["scores"].values())


@pytest.mark.parametrize("killed", ["answering", "scoring"])
def test_a_killed_evaluation_goes_on_where_it_was(step, answered_by, monkeypatch, killed):
    ctx, whole = step(work="killed"), step(work="whole")
    ctx.infra["micro_batch_size"] = 4
    model = answered_by(Oracle(data_of(ctx)))
    where, name = (AblateLMM, "_answer") if killed == "answering" else (score, "run_task")
    work, times = getattr(where, name), []

    def dies(*args):
        if len(times) == 3:
            raise KeyboardInterrupt
        times.append(args)
        return work(*args)

    monkeypatch.setattr(where, name, dies)
    with pytest.raises(KeyboardInterrupt):
        score.evaluate(ctx)
    monkeypatch.setattr(where, name, work)
    assert model.asked == (12 if killed == "answering" else 32)
    assert len(parts_of(ctx)) == (0 if killed == "answering" else 3)
    ctx.seen.clear()
    result = score.evaluate(ctx)
    assert model.asked == 32
    assert all(done > 12 and total == 32 for done, total, _ in ctx.seen)
    assert "taken_over" not in result
    assert result["seconds_generate"] > 0
    again = score.evaluate(whole)
    assert result["scores"] == again["scores"]
    assert (ctx.work / "answers.jsonl").read_text() == (whole.work / "answers.jsonl").read_text()


def test_an_answer_that_was_half_written_or_changed_is_asked_for_again(
    step, answered_by, monkeypatch
):
    ctx = step()
    ctx.infra["micro_batch_size"] = 4
    model = answered_by(Oracle(data_of(ctx)))
    run = score.run_task
    monkeypatch.setattr(score, "run_task", None)
    with pytest.raises(TypeError):
        score.evaluate(ctx)
    monkeypatch.setattr(score, "run_task", run)
    [log] = ctx.prefix.iterdir()
    _, *lines = log.read_text().splitlines()
    assert len(lines) == 8
    changed = lines[2].replace(', "', ', "x', 1)
    log.write_text("\n".join([*lines[:2], changed, *lines[3:7], lines[7][: len(lines[7]) // 2]]))
    assert score.evaluate(ctx)["composite"] == 100.0
    assert model.asked == 32 + 8
    assert not ctx.prefix.exists()


def test_a_real_model_is_scored_the_same_twice_whatever_the_batch(step, monkeypatch):
    first, second = step(work="first"), step(work="second")
    result = score.evaluate(first)
    second.infra["micro_batch_size"] = 3
    sizes = set()
    answer = AblateLMM._answer
    monkeypatch.setattr(
        AblateLMM,
        "_answer",
        lambda self, asks: sizes.add(len(asks)) or answer(self, asks),
    )
    again = score.evaluate(second)
    assert max(sizes) == 3
    assert result["scores"] == again["scores"]
    assert answers(first) == answers(second)
    assert len({row["answer"] for row in answers(first)}) > 8


@pytest.mark.gpu
def test_in_half_precision_on_a_gpu_every_question_is_answered_as_before(step):
    first, second = step(work="first"), step(work="second")
    first.device = second.device = "cuda"
    result = score.evaluate(first)
    assert result["questions"] == 32
    assert score.evaluate(second)["scores"] == result["scores"]
    assert answers(first) == answers(second)


def shared(ctx, size, kill_at=None):
    """Score in `size` processes, of which the last dies at its question number `kill_at`, once the
    leader has left some answers."""
    processes = [partial(score_as, ctx, task, size, kill_at) for task in range(size)]
    return codes([forked(process) for process in processes])


def score_as(ctx, task, size, kill_at):
    torch.set_num_threads(1)  # the parent's threads are not there after a fork
    if kill_at is not None and task == size - 1:
        asks, opened = iter(range(kill_at)), Ask.open
        Ask.open = lambda ask: die(ctx) if next(asks, None) is None else opened(ask)
    team = ProcessGroup(task, size)
    team.meet(ctx.work.parent / "team")
    result = score.evaluate(replace(ctx, world=team.world(size, 1)))
    if team.leads:
        write_json(ctx.work.parent / "result.json", result)
        team.close(in_order=True)
    else:
        next(team.turns(), None)  # waits for the leader, as a worker does


def die(ctx):
    until(lambda: logs_of(ctx).get("answers.1.0.jsonl"))
    os._exit(9)


def logs_of(ctx):
    """The answers that each process has left, in lines."""
    return {path.name: len(path.read_text().split()) for path in ctx.prefix.glob("answers.*")}


def parts_of(ctx):
    return [path.name for path in (ctx.work / "tasks").glob("abl_*.ours.json")]


@pytest.mark.parametrize("size", [pytest.param(2, marks=pytest.mark.slow), 3])
def test_processes_that_share_the_batches_score_the_same_also_after_one_was_killed(step, size):
    alone, together = step(work="alone"), step(work="together")
    alone.infra["micro_batch_size"] = together.infra["micro_batch_size"] = 1
    result = score.evaluate(alone)
    assert set(shared(together, size, kill_at=18 // size)) != {0}
    assert {"answers.1.0.jsonl", f"answers.1.{size - 1}.jsonl"} <= logs_of(together).keys()
    assert parts_of(together) == []
    assert shared(together, size) == [0] * size
    found = read_json(together.work.parent / "result.json")
    assert found["scores"] == result["scores"]
    assert answers(together) == answers(alone)


def test_blind_the_same_question_gets_the_same_answer_whatever_the_image(step):
    ctx = step("micro-blind")
    score.evaluate(ctx)
    said = {}
    for row in answers(ctx):
        said.setdefault(row["question"], set()).add(row["answer"])
    assert all(len(texts) == 1 for texts in said.values())
    assert len(said) < 32


def test_scoring_leaves_seeds_ranks_stdout_and_processes_alone(
    step, answered_by, monkeypatch, capfd
):
    ctx = step()
    answered_by(Oracle(data_of(ctx)))
    monkeypatch.delattr("subprocess.Popen")  # lmms-eval would ask git
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    expected = random.random(), np.random.rand(), torch.rand(1)
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    capfd.readouterr()
    score.evaluate(ctx)
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected
    assert capfd.readouterr().out == ""
    assert sorted(path.name for path in ctx.work.iterdir()) == ["answers.jsonl", "data.json"]


@pytest.mark.parametrize("damage", ["other", "truncated", "missing"])
def test_an_image_that_cannot_be_read_is_named(step, answered_by, monkeypatch, damage):
    ctx = step()
    data = data_of(ctx)
    answered_by(Oracle(data))
    monkeypatch.setattr(asked, "prepare", lambda source, root: data)  # it breaks after the check
    broken = sorted((data / "images").iterdir())[2]
    whole = broken.read_bytes()
    broken.write_bytes(b"no image" if damage == "other" else whole[: len(whole) // 2])
    if damage == "missing":
        broken.unlink()
    with pytest.raises(UserError, match=broken.name):
        score.evaluate(ctx)


@pytest.mark.parametrize("damage", ["empty", "black", "answers"])
def test_a_drawn_test_that_was_changed_is_drawn_anew_and_said(step, answered_by, capsys, damage):
    ctx = step()
    data = data_of(ctx)
    answered_by(Oracle(data))
    score.evaluate(ctx)
    pictures = sorted((data / "images").iterdir())
    if damage == "empty":
        pictures[2].write_bytes(b"")
    elif damage == "black":
        for path in pictures:
            Image.new("RGB", (128, 128)).save(path)
    else:
        [arrow] = data.parent.glob("*-tasks-*/sets/abl_vqa/abl_vqa/*.arrow")
        arrow.write_bytes(arrow.read_bytes()[::-1])
    again = step(work="again")
    assert score.evaluate(again)["composite"] == 100.0
    assert "is made anew" in capsys.readouterr().err
    assert len(list((data.parent / "quarantine").iterdir())) == 1


def test_what_scores_is_what_was_planned(step, monkeypatch):
    ctx = step()
    monkeypatch.setattr(suites, "task_files_fingerprint", lambda: "of other files")
    with pytest.raises(UserError, match="suite micro: not the same task_files as when"):
        score.evaluate(ctx)


def test_a_task_without_questions_is_named(step):
    ctx = step()
    data = WorldData(world="test", images=1, seed=3)
    suite = suites.resolve("micro").model_copy(update={"data": data})
    ctx.spec["suite"] = suite.identity()
    with pytest.raises(UserError, match="suite micro: its data holds no question of abl_"):
        score.evaluate(ctx)


def test_a_folder_without_a_candidate_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no trained candidate in .*spec\.json"):
        Answerer.load(tmp_path)


@pytest.mark.parametrize("flaw", ["fewer", "nan", "other"])
def test_lmms_eval_is_judged_by_what_it_returns(step, answered_by, monkeypatch, flaw):
    import lmms_eval.evaluator as evaluator

    ctx = step()
    answered_by(Oracle(data_of(ctx)))
    run = evaluator.simple_evaluate

    def flawed(**options):
        results = run(**options)
        task = options["tasks"][0]
        metric = {"abl_gqa": "exact_match,none"}[task]
        if flaw == "fewer":
            results["samples"][task].pop()
        else:
            results["results"][task][metric] = float("nan") if flaw == "nan" else 0.25
        return results

    monkeypatch.setattr(evaluator, "simple_evaluate", flawed)
    with pytest.raises(RuntimeError, match="abl_gqa: lmms-eval"):
        score.evaluate(ctx)
    assert not (ctx.work / "answers.jsonl").exists()
