"""What benchmarks/gr.py runs: GR against a plain reference (reference_gr.py) on generated rows.

One thread, CPU seconds, best of several rounds with the two sides in turn. Where there is a CUDA device, rows a second
and the share of time in kernels follow. The last line is one JSON object: figure -> value, target, unit, better.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.figures import Figure, report
from benchmarks.reference_gr import ReferenceGR, encode_label
from benchmarks.workload import CARDINALITIES, NUM_NUMERIC, Rows, generate_rows
from watchline.codec import VocabularyConfig, decode, encode, fit_vocabulary
from watchline.metrics import xauc
from watchline.models.encoder import EncoderConfig, FeatureEncoder
from watchline.models.gr.config import GRConfig
from watchline.models.gr.network import GRNetwork
from watchline.training.curriculum import CurriculumConfig

BATCH = 512
SMALL = GRConfig()  # width 64, two layers, labels in seconds
PUBLISHED = GRConfig(
    width=128,
    num_layers=3,
    num_heads=8,
    ffn_width=256,
    dropout=0.1,
    w_ce=10.0,
    w_rps=0.0,
    w_huber=1.0,
    vocabulary=VocabularyConfig(unit_s=0.001),
    curriculum=CurriculumConfig(kind="mixup", start=0.5, end=0.5, first_pass_gradient=True),
)


def rates(rounds: int, *sides: tuple[Callable[[], object], int]) -> list[float]:
    """Rows a CPU second of each side (a function and the rows it handles), the best of `rounds` taken in turn."""
    best = [0.0] * len(sides)
    for function, _ in sides:
        function()
    for _ in range(rounds):
        for i, (function, rows) in enumerate(sides):
            start = time.process_time()
            function()
            best[i] = max(best[i], rows / (time.process_time() - start))
    return best


def build(config: GRConfig, rows: Rows) -> GRNetwork:
    """A network with the shared encoder, its vocabulary and ranks fitted on the rows."""
    labels = rows.label_s_N.cpu().numpy()
    torch.manual_seed(1)
    encoder = FeatureEncoder(CARDINALITIES, NUM_NUMERIC, EncoderConfig(), config.width)
    network = GRNetwork(config, encoder, fit_vocabulary(labels, config.vocabulary))
    network.fit_ranks(labels)
    return network


class Trainer:
    """Training steps over the rows again and again."""

    def __init__(self, network: nn.Module, loss: Callable[..., Tensor], rows: Rows, batch: int = BATCH) -> None:
        self.network, self.loss, self.rows, self.batch, self.start = network, loss, rows, batch, 0
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, fused=True)
        network.train()

    def steps(self, count: int) -> None:
        """Take `count` steps."""
        for _ in range(count):
            if self.start + self.batch > len(self.rows.label_s_N):
                self.start = 0
            loss = self.loss(*self.rows.part(self.start, self.start + self.batch))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.start += self.batch


def trainer_of(network: GRNetwork, rows: Rows, batch: int = BATCH) -> Trainer:
    """Training by the network's own loss, halfway through its curriculum."""
    return Trainer(network, lambda *part: network.loss(*part, step=1, total_steps=3), rows, batch)


def measure_codec(rows: Rows, rounds: int) -> dict[str, Figure]:
    """Labels a second into milliseconds, the longest sequences, and against one label at a time."""
    labels = rows.label_s_N.numpy()
    vocabulary = fit_vocabulary(labels, PUBLISHED.vocabulary)
    few = labels[: len(labels) // 20]

    def plain() -> list[list[int]]:
        return [encode_label(vocabulary.values, min(round(label / 0.001), vocabulary.cap)) for label in few.tolist()]

    classes_NL, length_N = encode(vocabulary, few)
    assert [row[:length].tolist() for row, length in zip(classes_NL, length_N)] == plain()
    ours, reference, decoding = rates(
        rounds,
        (lambda: encode(vocabulary, labels), len(labels)),
        (plain, len(few)),
        (lambda: decode(vocabulary, classes_NL), len(few)),
    )
    return {
        "encode_labels_per_s": Figure(ours, 3e6, "labels/s"),
        "encode_speedup": Figure(ours / reference, 10, "x"),
        "decode_sequences_per_s": Figure(decoding, None, "labels/s"),
    }


def measure_training(rows: Rows, steps: int, rounds: int) -> dict[str, Figure]:
    """The published size with two passes against the reference's, and the default size."""
    network = build(PUBLISHED, rows)
    reference = ReferenceGR(PUBLISHED, copy.deepcopy(network.encoder), network.vocabulary)
    reference.copy_weights(network.decoder)
    ours, theirs = trainer_of(network, rows), Trainer(reference, lambda c, d, y: reference.loss(c, d, y, 0.5), rows)
    fast, plain = rates(
        rounds, (lambda: ours.steps(steps), steps * BATCH), (lambda: theirs.steps(steps), steps * BATCH)
    )
    small = trainer_of(build(SMALL, rows), rows)
    (default,) = rates(rounds, (lambda: small.steps(4 * steps), 4 * steps * BATCH))
    return {
        "train_d128_l3_ms_speedup": Figure(fast / plain, 2, "x"),
        "train_d128_l3_ms_rows_per_s": Figure(fast, None, "rows/s"),
        "train_d64_l2_1s_rows_per_s": Figure(default, 12_000, "rows/s"),
    }


def measure_decoding(rows: Rows, steps: int, rounds: int) -> dict[str, Figure]:
    """The paper's decoding with the same weights on both sides, trained a little so that sequences end as labels do."""
    network = build(PUBLISHED.model_copy(update={"curriculum": CurriculumConfig(kind="off")}), rows)
    trainer_of(network, rows).steps(steps)
    reference = ReferenceGR(PUBLISHED, network.encoder, network.vocabulary)
    reference.copy_weights(network.decoder)
    network.eval()
    reference.eval()
    part, whole = rows.part(0, 256)[:2], rows.part(0, 8192)[:2]
    fast, plain = rates(
        rounds,
        (lambda: network.predict(*whole, ["window"]), 8192),
        (lambda: reference.decode_window(*part), 256),
    )
    differences = reference.decode_window(*part) - network.predict(*part, ["window"])["window"]
    likeliest = network.predict(*whole, ["argmax"])["argmax"]
    return {
        "decode_same_weights_speedup": Figure(fast / plain, 40, "x"),
        "decode_same_weights_difference": Figure(float(differences.abs().max()), 1e-5, "s", "lower"),
        "decode_d128_l3_ms_rows_per_s": Figure(fast, None, "rows/s"),
        "decode_d128_l3_ms_tokens_per_row": Figure(
            float(encode(network.vocabulary, likeliest.numpy())[1].mean()), None, "tokens"
        ),
    }


def measure_statistics(rows: Rows, steps: int, rounds: int) -> dict[str, Figure]:
    """Statistics of the default size, each asked alone, then those of one evaluation together."""
    network = build(SMALL, rows)
    trainer_of(network, rows).steps(steps)
    network.eval()
    asked = {
        "median": (("median",), 80_000),
        "mean": (("mean",), None),
        "expected_rank": (("expected_rank",), None),
        "evaluation": (("median", "mean", "expected_rank"), None),
    }
    figures = {}
    for name, (statistics, target) in asked.items():
        size = 32_768 if target else 8192
        parts = [rows.part(start, start + 8192)[:2] for start in range(0, size, 8192)]
        (rate,) = rates(rounds, (partial(predict_all, network, parts, statistics), size))
        figures[f"decode_d64_{name}_rows_per_s"] = Figure(rate, target, "rows/s")
    return figures


def predict_all(network: GRNetwork, parts: Sequence[tuple[Tensor, Tensor]], statistics: Sequence[str]) -> None:
    """Predict batch after batch."""
    for part in parts:
        network.predict(*part, statistics)


def measure_xauc(rounds: int) -> dict[str, Figure]:
    """Exact XAUC of a million rows."""
    rng = np.random.default_rng(0)
    label = rng.lognormal(2, 1.3, 1_000_000).round()
    score = np.log1p(label) + rng.normal(size=len(label))
    (rate,) = rates(rounds, (lambda: xauc(label, score), 1))
    return {"xauc_1m_rows": Figure(1 / rate, 2, "s", "lower")}


def measure_device(rows: Rows, steps: int) -> dict[str, Figure]:
    """On the CUDA device: rows a second of wall time and the share of it in kernels."""
    device, figures = torch.device("cuda"), {}
    on_device, batch = rows.to(device), 4096
    for name, config in (("d64_l2_1s", SMALL), ("d128_l3_ms", PUBLISHED)):
        network = build(config, rows).to(device)
        trainer = trainer_of(network, on_device, batch)
        rate, share = device_rate(partial(trainer.steps, steps), steps * batch)
        figures[f"cuda_train_{name}_rows_per_s"] = Figure(rate, None, "rows/s")
        figures[f"cuda_train_{name}_kernel_share"] = Figure(share, None, "of time")
        network.eval()
        whole = on_device.part(0, len(rows.label_s_N))[:2]
        rate, share = device_rate(partial(network.predict, *whole, ["median"]), len(rows.label_s_N))
        figures[f"cuda_decode_{name}_median_rows_per_s"] = Figure(rate, None, "rows/s")
        figures[f"cuda_decode_{name}_median_kernel_share"] = Figure(share, None, "of time")
    return figures


def device_rate(function: Callable[[], object], rows: int) -> tuple[float, float]:
    """Rows per wall second, and kernel time over wall time of another run under the profiler."""
    function()
    torch.cuda.synchronize()
    start = time.perf_counter()
    function()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        function()
        torch.cuda.synchronize()
    kernels_s = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
    return rows / seconds, kernels_s / seconds


def main(argv: list[str] | None = None) -> None:
    """Measure, print a table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that it runs")
    quick = parser.parse_args(argv).quick
    torch.set_num_threads(1)
    rounds, steps, warm = (1, 1, 30) if quick else (3, 4, 100)
    rows = generate_rows(40_000)
    print(f"torch {torch.__version__}, one thread, {len(rows.label_s_N):,} generated rows, batch {BATCH}\n")
    parts: list[Callable[[], dict[str, Figure]]] = [
        lambda: measure_codec(generate_rows(100_000 if quick else 1_000_000), rounds),
        lambda: measure_training(rows, steps, rounds),
        lambda: measure_decoding(rows, warm, rounds),
        lambda: measure_statistics(rows, 2 * warm, rounds),
        lambda: measure_xauc(rounds),
    ]
    if torch.cuda.is_available():
        parts.append(lambda: measure_device(rows, 2 if quick else 20))
    report(parts)
