"""What the harness returns as what the report holds."""

from __future__ import annotations

from watchline.sft.evaluate import question_counts, summary

RESULTS = {
    "results": {
        "gsm8k": {
            "alias": "gsm8k",
            "exact_match,strict-match": 0.5,
            "exact_match_stderr,strict-match": 0.1,
            "exact_match,flexible-extract": 0.6,
        },
        "mbpp": {"alias": "mbpp", "pass_at_1,none": 0.25, "pass_at_1_stderr,none": "N/A", "other,none": float("nan")},
    },
    "n-samples": {"gsm8k": {"original": 1319, "effective": 20}, "mbpp": {"original": 500, "effective": 500}},
}


def test_numbers_stand_under_task_and_filter_and_what_is_no_number_is_left_out() -> None:
    assert summary(RESULTS) == {
        "gsm8k": {
            "strict-match": {"exact_match": 0.5, "exact_match_stderr": 0.1},
            "flexible-extract": {"exact_match": 0.6},
        },
        "mbpp": {"pass_at_1": 0.25},
    }


def test_the_questions_counted_are_those_asked() -> None:
    assert question_counts(RESULTS) == {"gsm8k": 20, "mbpp": 500}
