"""The model behind lmms-eval: every kind of request it may get, and the refusals."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ablate.cost import answering
from ablate.data.batch import IMAGE_TOKEN_ID
from ablate.data.images import read_image
from ablate.errors import UserError
from ablate.evaluate.adapter import AblateLMM
from ablate.evaluate.answerer import Answerer
from ablate.evaluate.recent import Recent
from ablate.evaluate.turns import cut, with_images

GREEN = Image.new("RGB", (128, 128), "green")


@pytest.fixture(scope="module")
def adapter(candidate):
    return AblateLMM(str(candidate), device="cpu", batch_size="2")


def ask(adapter, *questions):
    """Answers to (text, images, options) through the requests lmms-eval makes."""
    adapter.task_dict = {"t": {"test": [images for _, images, _ in questions]}}
    return adapter.generate_until(
        [
            SimpleNamespace(args=(text, options, lambda images: images, number, "t", "test"))
            for number, (text, _, options) in enumerate(questions)
        ]
    )


def words(text):
    return len(text.split())


def test_answers_come_in_the_order_of_the_questions_whatever_their_options(adapter):
    long, short = {"max_new_tokens": 6}, {"max_new_tokens": 2, "until": "\n"}
    texts = ["how many things", "what word is in r1", "how many bars", "is there a circle in red"]
    questions = [(text, [GREEN], long if n % 2 else short) for n, text in enumerate(texts)]
    together = ask(adapter, *questions)
    assert together == [ask(adapter, question)[0] for question in questions]
    assert all(words(answer) <= 2 for answer in together[::2])


def test_a_question_may_have_no_image_or_several(adapter):
    none, one, two = ask(
        adapter,
        ("how many things", [], {"max_new_tokens": 6}),
        ("how many things", [GREEN], {"max_new_tokens": 6}),
        ("<image> <image> how many things", [GREEN, GREEN], {"max_new_tokens": 6}),
    )
    assert len({none, one, two}) == 3


def test_an_image_in_another_mode_is_seen_as_its_colours(adapter):
    palette = GREEN.convert("P")
    same = [("how many things", [image], {"max_new_tokens": 6}) for image in (GREEN, palette)]
    first, second = ask(adapter, *same)
    assert first == second


@pytest.mark.parametrize("kind", ["16 bits", "transparent", "turned"])
def test_an_image_is_seen_as_in_training(adapter, tmp_path, kind):
    drawn = np.random.default_rng(0).integers(0, 256, (128, 128), dtype=np.uint8)
    image, more = Image.fromarray(drawn), {}
    if kind == "16 bits":
        image = Image.fromarray(drawn * np.uint16(257))
    if kind == "transparent":
        image.putalpha(Image.fromarray(drawn.T))
    if kind == "turned":
        more["exif"] = Image.Exif()
        more["exif"][0x0112] = 6
    image.save(tmp_path / "a.png", **more)
    asked = SimpleNamespace(
        args=("how many", {}, lambda images: images, 0, "t", "test")  # as lmms-eval's requests
    )
    adapter.task_dict = {"t": {"test": [[Image.open(tmp_path / "a.png")]]}}
    [picture] = adapter._ask(0, np.zeros(1, np.int32), 1, asked).open()
    seen = adapter._pixels(picture)
    np.testing.assert_array_equal(seen, read_image(tmp_path / "a.png"))
    assert len(np.unique(seen)) > 100


def seen_by(adapter, monkeypatch):
    """How many images go through the encoders each time."""
    counts, see = [], adapter.model.see
    monkeypatch.setattr(
        adapter.model, "see", lambda pixels, sizes: counts.append(len(pixels)) or see(pixels, sizes)
    )
    return counts


def drawn(count, folder=None):
    """Images of noise; with a folder from files there."""
    for number in range(count):
        noise = np.random.default_rng(number).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        image = Image.fromarray(noise)
        if folder:
            image.save(folder / f"{number}.png")
            image = Image.open(folder / f"{number}.png")
        yield image


@pytest.mark.parametrize("in_files", [True, False])
def test_an_image_is_encoded_once_for_all_questions_and_tasks(
    candidate, tmp_path, monkeypatch, in_files
):
    adapter = AblateLMM(str(candidate), device="cpu", batch_size=3)
    counts = seen_by(adapter, monkeypatch)
    images = list(drawn(4, tmp_path if in_files else None))
    for text in ("how many things", "is there a circle in red"):  # as lmms-eval asks two tasks
        ask(adapter, *[(text, [image], {"max_new_tokens": 3}) for image in images * 3])
    assert sum(counts) == 4


def test_a_task_is_not_asked_for_images_whose_files_are_known(candidate, tmp_path):
    adapter = AblateLMM(str(candidate), device="cpu")
    images = list(drawn(2, tmp_path))
    texts = ["how many things", "is there a circle in red"]
    shown = [[images[0]], images]
    options = {"max_new_tokens": 4}
    expected = ask(adapter, *[(t, some, options) for t, some in zip(texts, shown, strict=True)])
    adapter.files = {("t", n): [image.filename for image in some] for n, some in enumerate(shown)}
    assert ask(adapter, *[(text, None, options) for text in texts]) == expected


def test_the_language_model_reads_an_image_once_for_the_questions_asked_together(
    candidate, monkeypatch
):
    adapter = AblateLMM(str(candidate), device="cpu")
    texts = ["how many things", "what word is in r1", "is there a circle in red and one in blue"]
    questions = [(t, [image], {"max_new_tokens": 4}) for t in texts for image in drawn(3)]
    apart = [ask(adapter, question)[0] for question in questions]
    adapter.shown = {("t", n): f"image {n % 3}" for n in range(len(questions))}
    lengths, splice = [], adapter.model._splice

    def spied(batch, *args, **options):
        lengths.append((int((batch.input_ids == IMAGE_TOKEN_ID).sum()), len(batch.input_ids)))
        return splice(batch, *args, **options)

    monkeypatch.setattr(adapter.model, "_splice", spied)
    assert ask(adapter, *questions) == apart
    assert lengths == [(3, 3), (0, 9)]


def test_more_questions_are_asked_at_once_the_shorter_they_are(candidate):
    adapter = AblateLMM(str(candidate), device="cpu")
    counts = [adapter._at_once(tokens) for tokens in (10**6, 500, 50, 1)]
    assert counts == sorted(counts)
    assert counts[0] == 1
    assert counts[-1] == answering.MOST


def test_answers_do_not_depend_on_what_is_kept(candidate, monkeypatch):
    images = list(drawn(5))
    options = {"max_new_tokens": 6}
    questions = [("how many things", [image], options) for image in images * 2]
    questions += [("<image> <image> how many", images[:2], options), ("how many", [], options)]
    answers = []
    for kept in (0, 3 * 16 * 32 * 4, 2**31):  # of images none, three, all
        adapter = AblateLMM(str(candidate), device="cpu", batch_size=2)
        adapter._seen = Recent(kept)
        counts = seen_by(adapter, monkeypatch)
        answers.append(ask(adapter, *questions))
        assert adapter._seen.size <= kept
        assert (sum(counts) == 5) == (kept == 2**31)
    assert answers == [answers[0]] * 3
    assert len(set(answers[0])) > 3


def test_what_was_used_last_is_kept():
    recent = Recent(limit=80)
    for key in (b"a", b"b"):
        recent[key] = torch.zeros(10)
    recent[b"a"]
    recent[b"c"] = torch.zeros(10)
    assert [key in recent for key in (b"a", b"b", b"c")] == [True, False, True]
    recent[b"a"] = torch.zeros(5)  # anew: it counts once
    assert recent.size == 60
    recent[b"d"] = torch.zeros(100)
    assert recent.size == 0


def test_an_image_beyond_the_limit_is_named_with_its_question(adapter):
    with pytest.raises(UserError, match=r"t, question 0: .* 70,000x1 pixels, but at most"):
        ask(adapter, ("how many", [Image.new("1", (70_000, 1))], {}))


def test_a_question_too_long_for_the_language_model_is_left_unanswered(adapter, capsys):
    short = ("how many things", [GREEN], {"max_new_tokens": 16384})
    answered, left = ask(adapter, short, ("how many things " * 50, [GREEN], {"max_new_tokens": 9}))
    assert answered == ask(adapter, short)[0] != ""
    assert left == ""
    assert "t, question 1: left unanswered, " in capsys.readouterr().err


def test_images_of_any_size_are_brought_to_the_canvas_of_training(candidate):
    answerer = dataclasses.replace(Answerer.load(candidate), canvas=32)
    wide = Image.new("RGB", (96, 48), "red")
    answers = ask(
        AblateLMM(answerer, device="cpu"),
        ("how many things", [wide], {"max_new_tokens": 6}),
        ("how many things", [GREEN], {"max_new_tokens": 6}),
    )
    assert len(answers) == 2


def test_images_that_do_not_match_the_text_are_refused(adapter):
    with pytest.raises(UserError, match="names 1 images but shows 2"):
        ask(adapter, ("<image> how many", [GREEN, GREEN], {}))


@pytest.mark.parametrize("options", [{"do_sample": True}, {"num_beams": 4}])
def test_anything_but_greedy_answers_is_refused(adapter, options):
    with pytest.raises(UserError, match="greedily"):
        ask(adapter, ("how many things", [GREEN], options))


def test_other_kinds_of_request_are_refused(adapter):
    for kind in (adapter.loglikelihood, adapter.generate_until_multi_round):
        with pytest.raises(UserError, match=r"generating|single questions"):
            kind([])


def test_lmms_eval_cannot_delete_the_model(adapter):
    adapter.clean()
    assert isinstance(adapter.model, torch.nn.Module)


def test_the_name_tells_weights_and_blindness_apart(candidate, adapter):
    blind = AblateLMM(str(candidate), device="cpu", blank=True)
    assert str(adapter) == f"ablate:{candidate.name}"
    assert str(blind) != str(adapter)


def test_an_answer_ends_before_the_first_stop_text():
    assert cut("\n red \n blue", ["\n"]) == "red"
    assert cut("yes, it is", [",", "it"]) == "yes"
    assert cut("no", []) == "no"


def test_images_stand_above_the_question_unless_it_places_them():
    assert with_images("what", 2) == "<image>\n<image>\nwhat"
    assert with_images("in <image> what", 1) == "in <image> what"
