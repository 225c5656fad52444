"""The decision that a test comes to, in a word and a sentence, with what answered and what it leaves open."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from watchline.experiment import statistics as st

SHIP, TEST_ONLINE = "Ship", "Test online"
DO_NOT_SHIP, NOT_YET, CANNOT_TELL = "Don't ship", "Don't ship yet", "Can't tell"
# What answers where it is not the world itself: on such an answer alone nothing ships.
ANSWERS_BY = {"model": "By a reward model", "matrix": "By recorded plays", "replay": "By the random log"}


@dataclass(frozen=True)
class Decision:
    """`status` (pass, warn, fail, info) is what programs read, `word` the decision, `text` a sentence or two."""

    status: str
    word: str
    text: str


@dataclass(frozen=True)
class Guarded:
    """Guardrails that do not pass, by name in words: `harmed` with the q-value of each, `unsettled` ones."""

    harmed: Mapping[str, float]
    unsettled: Sequence[str] = ()

    @classmethod
    def of(cls, guardrails: Sequence[st.Guardrail], q_values: Mapping[str, float]) -> Guarded:
        """By the verdict of each; `q_values` by its name."""
        named = {rail.name.replace("_", " "): rail for rail in guardrails}
        harmed = {words: q_values[rail.name] for words, rail in named.items() if rail.verdict == "harmed"}
        return cls(harmed, [words for words, rail in named.items() if rail.verdict == "cannot tell"])

    def harms(self) -> str:
        """Such as: harms a, may harm b (q .14); a harm whose q-value is not below ALPHA may be chance."""
        sure = [name for name, q_value in self.harmed.items() if q_value < st.ALPHA]
        unsure = [f"{name} (q {_decimals(q)})" for name, q in self.harmed.items() if q >= st.ALPHA]
        parts = (("harms", sure), ("may harm", unsure))
        return ", ".join(f"{verb} {', '.join(names)}" for verb, names in parts if names)


def decide(
    lift: st.Estimate | None,
    sample_ratio: st.SampleRatio,
    arms: tuple[str, str],
    environment: str,
    guarded: Guarded,
    p_corrected: float | None = None,
) -> Decision:
    """From the `lift` of watch time per user of `arms`, (treatment, control), by `environment`; None over a zero mean.

    A harmed guardrail is a warning, unless the lift is a loss anyway; one that cannot tell is named and blocks nothing.
    Of several treatments a gain counts when it is one after correction, `p_corrected`.
    """
    treatment, control = arms
    if sample_ratio.alarm:
        text = "Do not read the result: the arms' user counts do not fit their shares (p = "
        return Decision("warn", CANNOT_TELL, f"{text}{sample_ratio.p_value:.1e}), so the assignment is broken.")
    if lift is None:
        return Decision("warn", CANNOT_TELL, f"{control} was not watched at all, so there is no lift to speak of.")
    span = _span(lift)
    against = f"{span} against {control}"
    left = f" Not settled: {', '.join(guarded.unsettled)}." if guarded.unsettled else ""
    if lift.high < 0:
        return _by(environment, "fail", DO_NOT_SHIP, f"Do not ship {treatment}: {against}.")
    if guarded.harmed:
        text = f"Do not ship {treatment} yet: {against}, and it {guarded.harms()}.{left}"
        return _by(environment, "warn", NOT_YET, text)
    if lift.low > 0 and (p_corrected is None or p_corrected < st.ALPHA):
        word = TEST_ONLINE if environment in ANSWERS_BY else SHIP
        action = f"Test {treatment} online" if word == TEST_ONLINE else f"Ship {treatment}"
        return _by(environment, "pass", word, f"{action}: {against}.{left}")
    after = f", but p {p_corrected:.3f} over all treatments" if lift.low > 0 and p_corrected is not None else ""
    return _by(environment, "info", CANNOT_TELL, f"Cannot tell {treatment} from {control}: {span}{after}.{left}")


def by_answerer(environment: str, sentence: str) -> str:
    """The sentence after what answers, where that is not the world itself."""
    return f"{ANSWERS_BY[environment]}: {sentence[0].lower()}{sentence[1:]}" if environment in ANSWERS_BY else sentence


def _by(environment: str, status: str, word: str, sentence: str) -> Decision:
    return Decision(status, word, by_answerer(environment, sentence))


def _span(lift: st.Estimate) -> str:
    """The lift with its interval; for a control that is not told from 0 there is none."""
    if not math.isfinite(lift.low + lift.high):
        return f"{lift.value:+.2%} watch time per user; the lift is not bounded"
    return f"{lift.value:+.2%} watch time per user, 95 % interval {lift.low:+.2%} to {lift.high:+.2%}"


def _decimals(share: float) -> str:
    return f"{share:.2f}".removeprefix("0")
