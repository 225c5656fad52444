"""What benchmarks/hd_pissa.py runs: HD-PiSSA against the plain algorithm (reference_hd_pissa.py) and LoRA from peft.

A Llama of random weights, all seven projections adapted, two gloo processes of one thread with one slice each. Times
are CPU seconds summed over both processes, the best of several rounds with the sides in turn. First the reference and
the library take two steps of a small model in float64 and must arrive at the same weights. The last line is one JSON
object: figure -> value, target, unit, better.

Memory is that of the process (VmHWM of /proc/self/status, reset before the step, less VmRSS then), in fresh processes
that give freed blocks of 64 KiB and more back to the system at once: so it holds what the profiler of torch does not
see, such as buffers of BLAS and gloo, and no leftovers of earlier work. It is taken at a second step, when the moments
exist. It needs Linux and glibc; on other systems it is left out.
"""

# B rows, T tokens

from __future__ import annotations

import argparse
import copy
import ctypes
import gc
import json
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from benchmarks.figures import Figure, report
from benchmarks.reference_hd_pissa import ReferenceHDPiSSA
from watchline.adapters.hd_pissa import HDPiSSAConfig, inject
from watchline.adapters.optimizer import HDPiSSAOptimizer

PROCESSES = 2
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
LR = 1e-4
# Forks save importing everything anew; nothing here runs threads before them.
START_METHOD = "fork" if sys.platform == "linux" else "spawn"
TOLERANCE = 1e-4  # of Delta W, relative, between the reference and the library
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
# The collectives of torch.distributed and which positional argument holds what the process sends.
SENT_ARGUMENT = {
    "all_gather": 1,
    "all_gather_into_tensor": 1,
    "all_gather_single": 1,
    "all_reduce": 0,
    "all_to_all_single": 1,
    "broadcast": 0,
    "reduce_scatter": 1,
    "reduce_scatter_tensor": 1,
    "reduce_scatter_single": 1,
}


@dataclass(frozen=True)
class Size:
    """A Llama's shapes, the rank of a slice and what one process feeds at a step (rows of tokens)."""

    hidden: int
    intermediate: int
    num_layers: int
    num_heads: int
    vocabulary: int
    rank: int
    rows: int
    tokens: int

    def line(self) -> str:
        """All of it in words."""
        return (
            f"Llama of {self.num_layers} layers, {self.hidden} wide, {self.intermediate} in the MLP, {self.num_heads} "
            f"heads, vocabulary {self.vocabulary:,}; rank {self.rank}, {self.rows} x {self.tokens} tokens a process"
        )


CPU_SIZE = Size(1024, 2816, 4, 16, 512, 16, 2, 128)
OTHER_TOKENS = (64, 512)  # of each of the two rows; the published micro-batch is 2 x 512
CUDA_SIZE = Size(2048, 8192, 16, 32, 32_000, 16, 2, 512)
TINY_SIZE = Size(32, 88, 2, 4, 64, 4, 2, 16)


@dataclass(frozen=True)
class Side:
    """One way to fine-tune a model."""

    model: nn.Module
    update: Callable[[], None]

    def feed(self, tokens_BT: Tensor) -> None:
        """Forward and backward pass."""
        self.model(input_ids=tokens_BT, labels=tokens_BT, use_cache=False).loss.backward()

    def step(self, tokens_BT: Tensor) -> None:
        """A whole training step."""
        self.feed(tokens_BT)
        self.update()


def build_llama(size: Size) -> LlamaForCausalLM:
    """The same random weights (float32) in every process."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=size.vocabulary,
        hidden_size=size.hidden,
        intermediate_size=size.intermediate,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        max_position_embeddings=size.tokens,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


def draw_tokens(size: Size, device: str = "cpu") -> Tensor:
    """Tokens (B, T), other ones in every process."""
    generator = torch.Generator().manual_seed(1 + _rank())
    return torch.randint(size.vocabulary, (size.rows, size.tokens), generator=generator).to(device)


def tune_reference(model: nn.Module, size: Size, full_svd: bool = True) -> Side:
    """The plain algorithm."""
    return Side(model, ReferenceHDPiSSA(model, TARGETS, size.rank, LR, full_svd).step)


def tune_hd_pissa(model: nn.Module, size: Size, **choices: Any) -> Side:
    """The library, one slice a process; `choices` are further fields of its config."""
    slices = dist.get_world_size() if dist.is_initialized() else 1
    config = HDPiSSAConfig(rank=size.rank, num_slices=slices, targets=TARGETS, **choices)
    return Side(model, HDPiSSAOptimizer(inject(model, config), LR).step)


def tune_lora(model: nn.Module, size: Size) -> Side:
    """LoRA of peft with its defaults, the gradients averaged in one flat all_reduce."""
    config = LoraConfig(r=size.rank, lora_alpha=size.rank, lora_dropout=0.0, target_modules=list(TARGETS))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft asks transformers by an old name
        adapted = get_peft_model(model, config)
    return Side(adapted, partial(_average_and_step, *_adamw(adapted)))


def tune_full(model: nn.Module, size: Size) -> Side:
    """Every parameter by AdamW, its moments in the model's dtype."""
    return Side(model, partial(_average_and_step, *_adamw(model)))


def _adamw(model: nn.Module) -> tuple[list[nn.Parameter], torch.optim.Optimizer]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return parameters, torch.optim.AdamW(parameters, lr=LR, fused=True)


def _average_and_step(parameters: list[nn.Parameter], optimizer: torch.optim.Optimizer) -> None:
    if dist.is_initialized():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for gradient, mean in zip(gradients, flat.split([gradient.numel() for gradient in gradients])):
            gradient.copy_(mean.view_as(gradient))
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def on_processes(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What `function` returns (as JSON) in each of PROCESSES fresh gloo processes, in rank order."""
    with tempfile.TemporaryDirectory() as folder:
        torch.multiprocessing.start_processes(
            _run_process, (Path(folder), function, arguments), nprocs=PROCESSES, start_method=START_METHOD
        )
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(PROCESSES)]


def _run_process(rank: int, folder: Path, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=PROCESSES)
    result = function(*arguments)
    (folder / f"{rank}.json").write_text(json.dumps(result))
    dist.barrier()
    dist.destroy_process_group()


def cpu_seconds(function: Callable[[], object]) -> float:
    """CPU seconds of this process and all its threads, from a moment at which every process is ready."""
    dist.barrier()
    start = time.process_time()
    function()
    return time.process_time() - start


def best_sums(processes: list[dict[str, list[float]]]) -> dict[str, float]:
    """Of each measurement the round whose sum over the processes is the smallest."""
    return {name: min(map(sum, zip(*(process[name] for process in processes)))) for name in processes[0]}


def compare_algorithms(size: Size) -> float:
    """||Delta W_reference - Delta W_library|| / ||Delta W_library|| after two steps in float64, the worst weight's."""
    model = build_llama(size).double()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters() if "_proj" in name}
    after: list[dict[str, Tensor]] = []
    for tune in (tune_reference, tune_hd_pissa):
        side = tune(copy.deepcopy(model), size)
        for tokens_BT in draw_tokens(replace(size, rows=2 * size.rows)).split(size.rows):
            side.step(tokens_BT)
        after.append({name: weight.detach() for name, weight in side.model.named_parameters()})
    plain, ours = after
    return max(float((plain[name] - ours[name]).norm() / (ours[name] - before[name]).norm()) for name in before)


def check_same() -> dict[str, Figure]:
    """Raise AssertionError unless both sides are the same algorithm."""
    difference = max(on_processes(compare_algorithms, TINY_SIZE))
    assert difference < TOLERANCE, f"Delta W of the reference and the library differ by {difference:.2g}, relative"
    return {"delta_w_difference": Figure(difference, TOLERANCE, "relative", "lower")}


def time_init(size: Size, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of adapting a model, by side and round."""
    model = build_llama(size)
    sides: dict[str, Callable[..., Side]] = {
        "reference": tune_reference,
        "exact": partial(tune_hd_pissa, bases="eigh"),
        "lowrank": partial(tune_hd_pissa, bases="lowrank"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, tune in sides.items():
            fresh = copy.deepcopy(model)
            seconds[name].append(cpu_seconds(partial(tune, fresh, size)))
    return seconds


def measure_init(size: Size, rounds: int) -> dict[str, Figure]:
    """What it costs to compute the bases."""
    best = best_sums(on_processes(time_init, size, rounds))
    figures = {
        "init_exact_speedup": Figure(best["reference"] / best["exact"], 2, "x"),
        "init_lowrank_speedup": Figure(best["reference"] / best["lowrank"], 20, "x"),
    }
    return figures | {f"init_{name}_cpu": Figure(value, None, "s", "lower") for name, value in best.items()}


def time_steps(size: Size, rounds: int) -> dict[str, list[float]]:
    """CPU seconds of whole steps and of their optimizer part, by side and round, after a step to warm up."""
    model, tokens_BT = build_llama(size), draw_tokens(size)
    sides = {name: tune(copy.deepcopy(model), size) for name, tune in _step_sides().items()}
    seconds: dict[str, list[float]] = {f"{part}_{name}": [] for part in ("step", "update") for name in sides}
    for side in sides.values():
        side.step(tokens_BT[:, :8])
    for _ in range(rounds):
        for name, side in sides.items():
            feeding = cpu_seconds(partial(side.feed, tokens_BT))
            updating = cpu_seconds(side.update)
            seconds[f"step_{name}"].append(feeding + updating)
            seconds[f"update_{name}"].append(updating)
    return seconds


def _step_sides() -> dict[str, Callable[..., Side]]:
    """The sides of a step; how the bases were found changes nothing about it, so the cheap ones do."""
    return {
        "reference": partial(tune_reference, full_svd=False),
        "ours": partial(tune_hd_pissa, bases="lowrank"),
        "lora": tune_lora,
    }


def measure_steps(size: Size, rounds: int) -> dict[str, Figure]:
    """What a training step costs, against the reference and against LoRA."""
    best = best_sums(on_processes(time_steps, size, rounds))
    figures = {
        "step_speedup": Figure(best["step_reference"] / best["step_ours"], 2.5, "x"),
        "update_speedup": Figure(best["update_reference"] / best["update_ours"], None, "x"),
        "step_over_lora": Figure(best["step_ours"] / best["step_lora"], 1.1, "x", "lower"),
    }
    return figures | {f"{name}_cpu": Figure(value, None, "s", "lower") for name, value in best.items()}


@dataclass
class Traffic:
    """Calls of collectives and bytes handed to them."""

    num_calls: int = 0
    num_bytes: int = 0


@contextmanager
def count_traffic() -> Iterator[Traffic]:
    """Count the collectives of torch.distributed called within the block."""
    traffic, originals = Traffic(), {name: getattr(dist, name) for name in SENT_ARGUMENT if hasattr(dist, name)}
    inside = False  # a collective that calls another one is one call

    def counted(name: str, *arguments: Any, **options: Any) -> Any:
        nonlocal inside
        if inside:
            return originals[name](*arguments, **options)
        sent = arguments[SENT_ARGUMENT[name]]
        traffic.num_calls += 1
        traffic.num_bytes += sum(part.nbytes for part in (sent if isinstance(sent, list) else [sent]))
        inside = True
        try:
            return originals[name](*arguments, **options)
        finally:
            inside = False

    for name in originals:
        setattr(dist, name, partial(counted, name))
    try:
        yield traffic
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)


def step_traffic(size: Size) -> dict[str, tuple[int, int]]:
    """Calls and bytes of one step of this process, by side; few tokens do, messages do not depend on them."""
    sides = _step_sides() | {"bf16": partial(tune_hd_pissa, bases="lowrank", comm_dtype="bfloat16")}
    found = {}
    for name, tune in sides.items():
        side = tune(build_llama(size), size)
        side.feed(draw_tokens(size)[:, :8])
        with count_traffic() as traffic:
            side.update()
        assert traffic.num_calls, f"{name}: the step called no collective that is counted"
        found[name] = (traffic.num_calls, traffic.num_bytes)
    return found


def measure_traffic(size: Size) -> dict[str, Figure]:
    """What one process sends at a step."""
    found = on_processes(step_traffic, size)[0]
    calls, sent = ({name: pair[i] for name, pair in found.items()} for i in range(2))
    return {
        "bytes_fp32_reduction": Figure(sent["reference"] / sent["ours"], 2, "x"),
        "bytes_bf16_reduction": Figure(sent["reference"] / sent["bf16"], 4, "x"),
        "collectives_ours": Figure(calls["ours"], 1, "calls", "lower"),
        "collectives_reference": Figure(calls["reference"], None, "calls", "lower"),
        **{f"sent_{name}": Figure(value / 2**20, None, "MiB", "lower") for name, value in sent.items()},
    }


def memory_of(field: str) -> int:
    """Bytes of a field of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:"))


def free_at_once(threshold_bytes: int = 65_536) -> None:
    """Make glibc return freed blocks of that size and more to the system instead of keeping them for later."""
    for option in (_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD):
        ctypes.CDLL(None).mallopt(option, threshold_bytes)


def highest_memory(function: Callable[[], object]) -> tuple[int, int]:
    """Resident bytes before the function and the highest ones while it runs."""
    gc.collect()
    before = memory_of("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # 5 resets VmHWM
    function()
    return before, memory_of("VmHWM")


def step_memory(name: str, size: Size) -> dict[str, int]:
    """Bytes at the peak of a second step: of all of it beyond what was held before, and of its optimizer part."""
    free_at_once()
    side, tokens_BT = _step_sides()[name](build_llama(size), size), draw_tokens(size)
    side.step(tokens_BT)
    held, peak = highest_memory(partial(side.feed, tokens_BT))
    with_gradients, update_peak = highest_memory(side.update)
    return {"held": held, "step": max(peak, update_peak) - held, "update": update_peak - with_gradients}


def measure_memory(size: Size) -> dict[str, Figure]:
    """Memory of a step, the larger of the two processes, each side in fresh ones."""
    if sys.platform != "linux":
        print("memory of a step: left out, it is read from /proc of Linux")
        return {}
    found: dict[str, dict[str, float]] = {}
    for name in _step_sides():
        processes = on_processes(step_memory, name, size)
        found[name] = {part: max(of[part] for of in processes) / 2**20 for part in processes[0]}
    ratio = {part: found["reference"][part] / found["ours"][part] for part in ("step", "update")}
    return {
        "step_memory_reduction": Figure(ratio["step"], 2.5, "x"),
        "update_memory_reduction": Figure(ratio["update"], None, "x"),
        **{
            f"{part}_memory_{name}": Figure(value, None, "MiB", "lower")
            for name, parts in found.items()
            for part, value in parts.items()
        },
    }


def measure_length(size: Size, tokens: int, rounds: int) -> dict[str, Figure]:
    """Ratios with other numbers of tokens: B A and the update do not depend on them, the rest does."""
    other = replace(size, tokens=tokens)
    found = measure_steps(other, rounds) | measure_memory(other)
    names = [name for name in ("step_speedup", "step_over_lora", "step_memory_reduction") if name in found]
    return {f"{name}_{other.rows}x{tokens}_tokens": replace(found[name], target=None) for name in names}


def measure_device(size: Size, device: str, num_steps: int) -> dict[str, Figure]:
    """One process on one device, a bf16 model: tokens a second of wall time, and the highest memory allocated."""
    sides: dict[str, Callable[..., Side]] = {
        f"hd_pissa_{master}": partial(tune_hd_pissa, bases="lowrank", master=master)
        for master in ("fp32", "kahan", "stochastic")
    }
    figures = {}
    for name, tune in {**sides, "lora": tune_lora, "full": tune_full}.items():
        rate, peak = device_rate(tune, size, device, num_steps)
        figures[f"{device}_{name}_tokens_per_s"] = Figure(rate, None, "tokens/s")
        figures[f"{device}_{name}_memory"] = Figure(peak / 2**30, None, "GiB", "lower")
    return figures


def device_rate(tune: Callable[..., Side], size: Size, device: str, num_steps: int) -> tuple[float, int]:
    """Tokens a second over `num_steps` steps after two, and bytes allocated at their highest (0 without CUDA)."""
    gc.collect()  # adapted models hold cycles, and the last one would count as this one's memory
    with torch.device(device):
        model = build_llama(size)
    side, tokens_BT = tune(model.bfloat16(), size), draw_tokens(size, device)
    on_cuda = device == "cuda"
    for _ in range(2):
        side.step(tokens_BT)
    if on_cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    for _ in range(num_steps):
        side.step(tokens_BT)
    if on_cuda:
        torch.cuda.synchronize()
    rate = num_steps * tokens_BT.numel() / (time.perf_counter() - start)
    return rate, torch.cuda.max_memory_allocated() if on_cuda else 0


def main(argv: list[str] | None = None) -> None:
    """Measure, print a table and the JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one layer and one round, to see that it runs")
    parser.add_argument("--smoke", action="store_true", help=argparse.SUPPRESS)  # every path, tiny, the device's too
    arguments = parser.parse_args(argv)
    brief = arguments.quick or arguments.smoke
    size = TINY_SIZE if arguments.smoke else replace(CPU_SIZE, num_layers=1) if brief else CPU_SIZE
    rounds = 1 if brief else 4
    print(f"torch {torch.__version__}, {PROCESSES} processes of one thread, one slice each\n{size.line()}\n")
    parts: list[Callable[[], dict[str, Figure]]] = [
        check_same,
        partial(measure_steps, size, rounds),
        partial(measure_init, size, max(1, rounds // 2)),
        partial(measure_traffic, size),
        partial(measure_memory, size),
    ]
    if not brief:
        parts += [partial(measure_length, size, tokens, rounds) for tokens in OTHER_TOKENS]
    if torch.cuda.is_available():
        print(f"on CUDA, one process, one slice, bf16: {CUDA_SIZE.line()}")
        parts.append(partial(measure_device, CUDA_SIZE, "cuda", 3 if brief else 20))
    elif arguments.smoke:
        parts.append(partial(measure_device, TINY_SIZE, "cpu", 1))
    else:
        print("no CUDA device: the part on a model of a billion parameters is skipped")
    report(parts)
