"""The page of a leaderboard: verdict, accuracy, trust, cost, differences, slices, and published numbers apart."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from watchline.evaluation.page import DEFINITIONS, FEW_USERS
from watchline.leaderboard.build import Leaderboard
from watchline.leaderboard.figures import cost_figures, difference_figures
from watchline.leaderboard.plan import Published
from watchline.leaderboard.significance import Comparison
from watchline.leaderboard.tables import (
    accuracy_table,
    comparison_table,
    cost_table,
    loss_table,
    published_table,
    search_table,
    slice_tables,
    trust_table,
)
from watchline.report import Callout, Facts, Page, Text
from watchline.report.blocks import Block
from watchline.report.metric_words import TITLE

SPREAD = "Mean and standard deviation (sd) over the seeds; the best mean of a column is marked."
PUBLISHED = (
    "As published: read off the publications, not measured here. Features, filters, seeds and the definition of XAUC "
    "differ between them and from this line; `xauc all pairs` above is the definition of GR and TPM."
)


def build_page(board: Leaderboard) -> Page:
    """The page; equal boards give equal pages."""
    plan = board.plan
    seeds = ", ".join(map(str, board.seeds))
    first, last = board.window["eval_first"], board.window["eval_last"]
    lead = f"{plan.title} {board.rows:,} exposures of {board.users:,} users, {first} to {last}; seeds {seeds}."
    page = Page("leaderboard", f"Leaderboard: {plan.protocol}", lead)
    page.key_figures(_key_figures(board), {name: ".4f" for name in _key_figures(board) if name.startswith("best")})
    page.section("Which method wins", *_missing(board), Text("\n\n".join(board.verdict)), *_behind(board))
    page.section("Accuracy", accuracy_table(board), note=f"{SPREAD} {_beside(board)}".strip())
    page.section("Intervals and calibration", trust_table(board), note=_TRUST_NOTE)
    page.section("Cost", cost_table(board), note=_COST_NOTE)
    if figures := cost_figures(board):
        page.section(
            "Accuracy against cost",
            *figures,
            note=_COST_FIGURES_NOTE,
        )
    _add_comparisons(page, f"Differences from {plan.baseline}", board, board.against_baseline)
    _add_comparisons(page, "Differences from the best", board, board.against_best)
    for title, buckets in board.slices.items():
        page.section(
            title, *slice_tables(buckets), note="Mean over the seeds; in brackets how many rows, the best marked."
        )
    if plan.published:
        page.section("As published", *_published(plan.published), note=PUBLISHED)
    page.section("How this was measured", *_method(board))
    return page


def _key_figures(board: Leaderboard) -> dict[str, Any]:
    found: dict[str, Any] = {"models": len(board.summary), "seeds": len(board.seeds)}
    for metric, win in board.wins.items():
        found[f"best {TITLE[metric]} ({win.model})"] = win.value
    return found


def _missing(board: Leaderboard) -> list[Block]:
    if not board.missing:
        return []
    return [Callout("warn", f"Not all that was asked for is here. {'. '.join(board.missing)}.")]


def _behind(board: Leaderboard) -> list[Block]:
    return [loss_table(board)] if board.behind else []


def _beside(board: Leaderboard) -> str:
    shown = [f"`{name}`: {why}" for name, why in board.plan.beside.items() if name in board.summary]
    return f"Shown, but not competing: {'; '.join(shown)}." if shown else ""


_TRUST_NOTE = (
    "80 % intervals of the models that give quantiles, from the 10 % to the 90 % one: share of the watch times within, "
    "the same with atoms (zeros, whole seconds) shared out, which is 80 % of a calibrated model, and mean width. "
    "Calibration: mean prediction over mean watch time; 1 is ideal."
)
_COST_NOTE = (
    "Seconds from the first row read to the fitted model, early stopping included; rows/s: training rows over these "
    "seconds, however many epochs. Parameters: weights, or leaves of trees. A fit that rejoined a checkpoint has no "
    "seconds. Fits share the machine with whatever else ran on it."
)


_COST_FIGURES_NOTE = (
    "A point a model, with the least and the most of its seeds; models worse than the best constant are left out."
)


def _add_comparisons(page: Page, title: str, board: Leaderboard, found: Sequence[Comparison]) -> None:
    if not found:
        return
    references = {each.metric: each.reference for each in found}
    against = ", ".join(f"`{name}` in {TITLE[metric].removesuffix(' s')}" for metric, name in references.items())
    num_tested = sum(each.p_value is not None for each in found)
    note = (
        f"Model minus reference ({against}). Rows averaged over the seeds first, then {board.plan.replicates:,} draws "
        "of users, paired; 95 % interval of each difference by itself. Corrected p: Holm over the "
        f"{num_tested} comparisons here."
    )
    if num_tested < len(found):
        note += f" {FEW_USERS}"
    page.section(title, comparison_table(found), *difference_figures(found), note=note)


def _published(blocks: Sequence[Published]) -> list[Block]:
    shown: list[Block] = []
    for block in blocks:
        shown.append(published_table(block))
        if block.caution:
            shown.append(Callout("info", block.caution))
    return shown


def _method(board: Leaderboard) -> list[Block]:
    plan = board.plan
    facts = {
        "overrides of every run": " ".join(plan.overrides) or "none",
        "seeds asked for": ", ".join(map(str, plan.seeds)),
        "bootstrap replicates": plan.replicates,
    }
    caution = (
        "Intervals and p-values tell of other users like these, for these fits; the sd tells of other seeds. The best "
        "is chosen on the very rows it is compared on, so differences from it are a little too large."
    )
    searched: list[Block] = [search_table(plan.searched)] if plan.searched else []
    return [Text(f"Search budget. {plan.search_budget}\n\n{caution}\n\n{DEFINITIONS}"), *searched, Facts(facts)]
