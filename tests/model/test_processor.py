"""Where oneDNN stands in for MKL, nobody can tell by the numbers."""

import subprocess
import sys

import torch

from ablate.store.record import machine

SCRIPT = """
import hashlib, random, sys, warnings
import torch
from ablate.model.processor import tune
from torch.profiler import profile
warnings.simplefilter("error")
torch.set_num_threads(1)
if sys.argv[1] == "ours":
    tune()
    tune()
torch.manual_seed(0)
draw = random.Random(0)
found = hashlib.sha256()

def note(*tensors):
    for one in tensors:
        found.update(one.detach().float().numpy().tobytes())

for number in range(150):
    rows, width, columns = (draw.choice((draw.randint(1, 40), 96, 128, 192, 256)) for _ in range(3))
    layer = torch.nn.Linear(width, columns, bias=number % 2 == 0)
    x = torch.randn(2, rows, width, requires_grad=True)
    layer(x).square().sum().backward()
    note(layer(x), x.grad, *(p.grad for p in layer.parameters()))
x = torch.randn(30, 40, dtype=torch.float64)
note(x @ x.t(), torch.addmm(torch.ones(20, 30), torch.ones(20, 9), torch.ones(9, 30), beta=2))
with torch.autocast("cpu", torch.bfloat16):
    note(torch.nn.Linear(30, 20)(torch.randn(20, 30)))
for bias in (None, torch.ones(50)):
    try:
        torch.nn.functional.linear(torch.ones(20, 30), torch.ones(50, 40), bias)
    except RuntimeError as error:
        found.update(str(error).encode())
with profile() as seen:
    torch.nn.Linear(64, 64)(torch.ones(32, 64))
print(found.hexdigest(), any("mkldnn" in one.key for one in seen.key_averages()))
"""


def run(whose: str) -> list[str]:
    command = [sys.executable, "-c", SCRIPT, whose]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


def test_products_and_their_gradients_are_the_same_to_the_bit() -> None:
    (theirs, theirs_used), (ours, ours_used) = run("theirs"), run("ours")
    assert ours == theirs
    amd, best = machine()["cpu"].startswith("AMD"), torch.backends.cpu.get_cpu_capability()
    assert (theirs_used, ours_used) == ("False", str(amd and best == "AVX512"))
