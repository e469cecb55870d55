"""An exported folder goes to a hub as any other model does."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hub_server import serving

from ablate.model.export import Speech, export_model
from ablate.model.language import load_tokenizer
from ablate.model.mllm import Mllm

PUSH = """
import gc, sys
gc.disable()  # a fifth of what importing takes
sys.modules["ablate"] = sys.modules["fusion_zoo"] = None  # importing them fails
from huggingface_hub import HfApi
from transformers import AutoModelForImageTextToText, AutoProcessor
folder = sys.argv[1]
for part in (AutoModelForImageTextToText, AutoProcessor):
    part.from_pretrained(folder, trust_remote_code=True).push_to_hub("me/by-class")
HfApi().create_repo("me/whole")
HfApi().upload_folder(repo_id="me/whole", folder_path=folder)
"""


@pytest.mark.slow
def test_all_of_a_folder_is_pushed_to_a_hub(
    make_model: Callable[..., Mllm], tmp_path: Path
) -> None:
    model = make_model("clip-micro@32", "convnext-micro@128")
    folder = tmp_path / "exported"
    speech = Speech.of(load_tokenizer(model.spec.llm), None, (0, 0, 0))
    export_model(model, speech, folder, "---\nlicense: other\n---\n# A card\n")
    with serving() as hub:
        env = {
            **os.environ,
            "HF_ENDPOINT": hub.address,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_OFFLINE": "0",
            "HF_TOKEN": "hf_nobody",
        }
        ended = subprocess.run(
            [sys.executable, "-c", PUSH, str(folder)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env=env,
            check=False,
        )
    assert ended.returncode == 0, ended.stderr
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {"model.safetensors", "modeling_ablate.py", "processor_config.json"} < files.keys()
    assert hub.repositories["me/whole"] == files
    pushed = hub.repositories["me/by-class"]
    assert pushed.pop("README.md") != files.pop("README.md")  # transformers' own
    assert pushed.keys() == files.keys()
    same = [name for name in files if name.endswith((".py", ".safetensors", ".jinja"))]
    assert {name: pushed[name] for name in same} == {name: files[name] for name in same}
