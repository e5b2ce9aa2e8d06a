"""Train the model on what `training.build` made. Goes on where it was stopped.

    python -m training.train [--text DIR] [--out DIR] [--part 1.0] [--threads N]

AdamW on weighted cross-entropy; the rate warms up, stays, and falls linearly to a thirtieth
("warm-up, stable, decay", arXiv:2404.06395). bf16 autocast, compiled; CPU or CUDA.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from training.build import LONG, SHORT
from training.model import Llama, Shape

SEED = 7
BATCH = 4096  # tokens of a step
RATE, LAST_RATE = 2.5e-3, 1 / 30
WARM_UP, FLAT = 80, 0.40  # steps; part of the steps
SAVE_EVERY, LOG_EVERY, MEASURE_EVERY = 200, 20, 400
IGNORED = -1


class Windows:
    """The windows, in the order in which they are learned, as batches of `BATCH` tokens.

    With `part` below 1 every so many windows are left out, for a trial of the whole way.
    """

    def __init__(self, folder: Path, part: float) -> None:
        self._batches: list[tuple[Any, Any]] = []
        for length in (SHORT, LONG):
            stored = np.load(folder / f"windows-{length}.npz")
            ids, weights = stored["ids"], stored["weights"]
            count = BATCH // length
            batches = len(ids) // count
            for batch in np.linspace(0, batches - 1, max(1, int(batches * part))).astype(int):
                rows = slice(batch * count, (batch + 1) * count)
                self._batches.append((ids[rows], weights[rows]))
        self.steps = len(self._batches)

    def batch(self, step: int) -> tuple[Tensor, Tensor]:
        """Ids and weights of a step, each windows × length."""
        ids, weights = self._batches[step]
        return (
            torch.from_numpy(ids.astype(np.int64)),
            torch.from_numpy(weights.astype(np.float32) / 100),
        )


def rate(step: int, steps: int, highest: float, flat: float) -> float:
    """The learning rate of a step, which stays at its highest for the part `flat` of the steps."""
    if step < WARM_UP:
        return highest * (step + 1) / WARM_UP
    done = max((step / steps - flat) / (1 - flat), 0)
    return highest * (1 - done * (1 - LAST_RATE))


def loss_of(model: torch.nn.Module, ids: Tensor, weights: Tensor) -> Tensor:
    """The mean cross-entropy of the next tokens, by their weights."""
    logits = model(ids[:, :-1])
    losses = F.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
    counted = weights[:, 1:].flatten()
    return (losses * counted).sum() / counted.sum().clamp(min=1)


@torch.no_grad()
def measured(model: Llama, held_out: dict[str, list[Any]], device: str) -> dict[str, float]:
    """The mean loss per token of what the model would have to say, for each held-out set."""
    means = {}
    for name, rows in held_out.items():
        total = count = 0.0
        for ids, weights in rows:
            counted = torch.tensor([weights], device=device) >= 100
            x = torch.tensor([ids], device=device)
            losses = F.cross_entropy(model(x[:, :-1])[0], x[0, 1:], reduction="none")
            total += float(losses[counted[0, 1:]].sum())
            count += float(counted[0, 1:].sum())
        means[name] = round(total / max(count, 1), 4)
    return means


def optimiser_for(model: Llama) -> torch.optim.AdamW:
    """AdamW that lets only matrices decay."""
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95), fused=True)


def main() -> None:
    """Train."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--text", type=Path, default=Path("build/training"))
    options.add_argument("--out", type=Path, default=Path("build/training"))
    options.add_argument("--part", type=float, default=1.0)
    options.add_argument("--threads", type=int, default=0)
    options.add_argument("--start", type=Path, help="a checkpoint to begin with the weights of")
    options.add_argument("--rate", type=float, default=RATE)
    options.add_argument("--flat", type=float, default=FLAT)
    chosen = options.parse_args()
    if chosen.threads:
        torch.set_num_threads(chosen.threads)
    torch.manual_seed(SEED)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    windows = Windows(chosen.text, chosen.part)
    held_out = json.loads((chosen.text / "held-out.json").read_text())
    model = Llama(Shape()).to(device)
    optimiser = optimiser_for(model)
    checkpoint = chosen.out / "checkpoint.pt"
    start, seconds = 0, 0.0
    if checkpoint.exists():
        stored = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(stored["model"])
        optimiser.load_state_dict(stored["optimiser"])
        start, seconds = stored["step"], stored["seconds"]
    elif chosen.start:
        stored = torch.load(chosen.start, map_location=device, weights_only=True)
        model.load_state_dict(stored["model"])
    parameters = sum(p.numel() for p in model.parameters())
    print(
        f"{parameters:,} parameters, {windows.steps} steps of {BATCH} tokens on {device}",
        flush=True,
    )
    compiled = torch.compile(model)
    log = (chosen.out / "log.jsonl").open("a")
    began, mean, first = time.monotonic(), 0.0, start

    def report(**row: Any) -> None:
        print(row, flush=True)
        log.write(json.dumps(row) + "\n")
        log.flush()

    def save(step: int) -> None:
        partial = checkpoint.with_suffix(".new")
        state = {
            "model": model.state_dict(),
            "optimiser": optimiser.state_dict(),
            "step": step,
            "seconds": seconds + time.monotonic() - began,
        }
        torch.save(state, partial)
        partial.replace(checkpoint)

    for step in range(start, windows.steps):
        ids, weights = (tensor.to(device) for tensor in windows.batch(step))
        for group in optimiser.param_groups:
            group["lr"] = rate(step, windows.steps, chosen.rate, chosen.flat)
        with torch.autocast(device, torch.bfloat16):
            loss = loss_of(compiled, ids, weights)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        now = float(loss.detach())
        mean = now if step == start else 0.95 * mean + 0.05 * now
        if (step + 1) % LOG_EVERY == 0:
            speed = (step + 1 - first) * BATCH / (time.monotonic() - began)
            report(step=step + 1, loss=round(mean, 4), tokens_per_s=round(speed))
        if (step + 1) % MEASURE_EVERY == 0 or step + 1 == windows.steps:
            report(step=step + 1, **measured(model, held_out, device))
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == windows.steps:
            save(step + 1)
    report(done=windows.steps, seconds=round(seconds + time.monotonic() - began))


if __name__ == "__main__":
    main()
