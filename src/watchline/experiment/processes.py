"""Runs a simulation's chunks, alone or on several processes; who runs a chunk changes no byte of it."""

from __future__ import annotations

import faulthandler
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import polars as pl

from watchline.experiment.environments.base import Floats
from watchline.experiment.simulation import Chunk, Simulation, World, chunks_of, collect, run_chunk
from watchline.training.seeding import seed_everything

_world: World  # of a worker process


def simulate(
    requests: pl.DataFrame,
    expected_s_N: Floats,
    world: World,
    *,
    processes: int = 1,
    num_threads: int = 1,
    progress: Callable[[str], None] = print,
) -> Simulation:
    """A session for each request, under every arm; `expected_s_N`: what their users expect of an exposure, seconds.

    Each process uses `num_threads` threads, which are part of the result, as `processes` is not.
    """
    chunks: list[Chunk] = []
    done = 0
    for chunk in _run(requests, expected_s_N, world, processes, num_threads):
        chunks.append(chunk)
        done += sum(len(arm.log) for arm in chunk.arms.values())
        progress(f"chunk {len(chunks)}: {done:,} exposures of {len(world.arms)} arms")
    return collect(requests, chunks, world)


def _run(
    requests: pl.DataFrame, expected_s_N: Floats, world: World, processes: int, num_threads: int
) -> Iterator[Chunk]:
    numbered = chunks_of(requests, expected_s_N)
    if processes == 1:
        yield from (run_chunk(world, number, part) for number, part in numbered)
        return
    # A fork would copy the locks that other threads of torch and Polars hold at that moment.
    with ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_start, initargs=(world, num_threads)
    ) as pool:
        yield from pool.map(_run_in_worker, *zip(*numbered, strict=True))


def _start(world: World, num_threads: int) -> None:
    global _world
    faulthandler.enable()  # else a pool does not tell a fault of the code from a kill from outside
    seed_everything(world.seed, num_threads)
    _world = world


def _run_in_worker(number: int, requests: pl.DataFrame) -> Chunk:
    return run_chunk(_world, number, requests)
