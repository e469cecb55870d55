"""A share of the questions is asked first, and a larger one asks only what is left."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablate.evaluate import score, share
from ablate.evaluate.adapter import AblateLMM

IMAGES = st.lists(st.sampled_from([f"images/{n}.png" for n in range(30)]), min_size=1, max_size=80)
SHARES = st.floats(0.001, 1)


def rows_of(ctx) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (ctx.work / "answers.jsonl").read_text().splitlines()]


@pytest.fixture
def asked(monkeypatch):
    """How many questions each batch had."""
    sizes: list[int] = []
    answer = AblateLMM._answer

    def counted(self, asks):
        sizes.append(len(asks))
        return answer(self, asks)

    monkeypatch.setattr(AblateLMM, "_answer", counted)
    return sizes


@given(images=IMAGES, shares=st.tuples(SHARES, SHARES))
def test_a_share_has_whole_images_and_lies_within_a_larger_one(images, shares):
    questions = [{"image": image} for image in images]
    smaller, larger = (share.nested(questions, one) for one in sorted(shares))
    assert set(smaller) <= set(larger)
    chosen = {images[place] for place in smaller}
    assert smaller == [place for place, image in enumerate(images) if image in chosen]
    sizes = [images.count(image) for image in chosen]
    assert len(smaller) >= min(shares) * len(images) - 1e-9
    assert len(smaller) - max(sizes) < max(1, min(shares) * len(images))
    assert share.nested(questions, 1.0) == list(range(len(images)))


def test_the_same_images_come_first_whatever_the_task_and_its_order():
    one = [{"image": f"{n}.png"} for n in range(10)]
    other = [{"image": f"{n}.png"} for n in reversed(range(10)) for _ in range(2)]
    images = [{rows[n]["image"] for n in share.nested(rows, 0.3)} for rows in (one, other)]
    assert images[0] == images[1]
    assert len(images[0]) == 3


def test_a_larger_share_asks_only_the_rest_and_scores_as_if_it_had_asked_all(step, asked):
    alone = step(work="alone")
    whole_result = score.evaluate(alone)
    before = 0
    for some in (0.25, 0.5):
        ctx = step(work=f"part-{some}")
        ctx.spec["questions"] = some
        asked.clear()
        result = score.evaluate(ctx)
        rows = rows_of(ctx)
        assert 32 * some <= len(rows) == result["questions"] < 32
        assert result.get("taken_over", 0) == before
        assert sum(asked) == len(rows) - before
        assert rows == [row for row in rows_of(alone) if row in rows]
        assert ctx.seen[-1][:2] == (len(rows) - before, len(rows) - before)
        before = len(rows)
    whole = step(work="whole")
    asked.clear()
    result = score.evaluate(whole)
    assert (sum(asked), result["taken_over"]) == (32 - before, before)
    assert result["scores"] == whole_result["scores"]
    assert rows_of(whole) == rows_of(alone)
    assert not whole.prefix.exists()


def test_a_killed_share_leaves_what_it_had_answered(step, asked, monkeypatch):
    part, whole = step(work="part"), step(work="whole")
    part.spec["questions"] = 0.5
    part.infra["micro_batch_size"] = 3
    answer = AblateLMM._answer

    def dies(adapter, asks):
        if len(asked) == 3:
            raise KeyboardInterrupt
        return answer(adapter, asks)

    monkeypatch.setattr(AblateLMM, "_answer", dies)
    with pytest.raises(KeyboardInterrupt):
        score.evaluate(part)
    monkeypatch.setattr(AblateLMM, "_answer", answer)
    had = sum(asked)
    result = score.evaluate(whole)
    assert result["taken_over"] == had > 0
    assert sum(asked) == 32
    assert {path.name for path in whole.work.iterdir()} == {"answers.jsonl", "data.json"}


def test_answers_of_other_weights_are_not_taken_over(step):
    part, other = step(work="part"), step(work="other")
    part.spec["questions"] = 0.5
    score.evaluate(part)
    other.spec["suite"] = {**other.spec["suite"], "blank": True}
    assert "taken_over" not in score.evaluate(other)


def test_a_damaged_file_of_answers_is_asked_anew(step):
    part, whole = step(work="part"), step(work="whole")
    part.spec["questions"] = 0.5
    score.evaluate(part)
    for path in part.prefix.iterdir():
        path.write_text(path.read_text().replace("answers", "answer5"))
    assert "taken_over" not in score.evaluate(whole)
