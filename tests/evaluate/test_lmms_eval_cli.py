"""lmms-eval's own command line finds our model and our tasks, and gives our scores."""

import json
import os
import subprocess
import sys

import pytest

from ablate.data.prepare import prepare
from ablate.evaluate.score import evaluate
from ablate.evaluate.taskfiles import materialise


@pytest.mark.slow
def test_lmms_eval_scores_a_candidate_by_name(step, candidate, tmp_path):
    ctx = step()
    ours = evaluate(ctx)["scores"]["abl_docvqa"]["value"]
    folder = materialise(prepare(ctx.spec["suite"]["data"], ctx.home / "data"))
    command = ["-m", "lmms_eval", "--model", "ablate", "--model_args", f"pretrained={candidate}"]
    command += ["--include_path", str(folder), "--tasks", "abl_docvqa,abl_pope", "--device", "cpu"]
    command += ["--batch_size", "16", "--output_path", str(tmp_path / "out"), "--log_samples"]
    env = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, *command], env=env, capture_output=True, text=True)
    found = list((tmp_path / "out").rglob("*_results.json"))
    assert found, run.stdout + run.stderr
    results = json.loads(found[0].read_text())["results"]
    assert results["abl_docvqa"]["anls,none"] * 100 == ours
    assert "f1,none" in results["abl_pope"]
