"""Intervals against cases whose answer is known, and what they say."""

import numpy as np
import pytest

from votes.studies.claims import (
    BETTER,
    INCONCLUSIVE,
    MEASURED,
    NOT_REPRODUCED,
    REPRODUCED,
    Interval,
    bootstrap,
    judged_above,
    judged_against,
    judged_value,
    rank_correlation,
    ranks,
    together,
)


def test_many_clips_give_the_textbook_interval():
    """Of one seed and 400 clips: mean ± 1.96 s / sqrt(n)."""
    values = np.random.default_rng(1).normal(0.3, 2, (1, 1, 400))
    found = bootstrap(values)
    half = 1.96 * values.std(ddof=1) / 20
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.05 * half)
    assert found.high == pytest.approx(values.mean() + half, abs=0.05 * half)
    assert (found.seeds, found.clips) == (1, 400)


def test_few_seeds_are_not_too_narrow():
    """Seeds alone differ: the draws' standard deviation is the unbiased standard error, not sqrt(2 / 3) of it."""
    effects = np.array([-0.2, 0.05, 0.15])
    values = np.repeat(effects[:, None], 5, 1)[None]
    drawn = []
    bootstrap(values, lambda means: drawn.append(means[:, 0]) or means[:, 0])
    assert np.std(drawn[0]) == pytest.approx(effects.std(ddof=1) / np.sqrt(3), rel=0.03)


def test_coverage_of_an_interval_over_seeds_and_clips():
    """95 % is what is aimed at; with ten seeds and ten clips most of it is reached."""
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        values = rng.normal(0, 1, (10, 1)) + rng.normal(0, 1, (1, 10)) + rng.normal(0, 0.5, (10, 10))
        found = bootstrap(values[None], draws=400)
        hits += found.low <= 0 <= found.high
    assert hits >= 0.88 * 200


def test_it_is_a_pure_function():
    values = np.random.default_rng(2).normal(size=(1, 3, 8))
    assert bootstrap(values) == bootstrap(values.copy())
    assert bootstrap(values) != bootstrap(values, seed=1)
    same = bootstrap(np.full((1, 3, 8), 0.25))
    assert (same.value, same.low, same.high) == (0.25, 0.25, 0.25)
    assert same.width == 0


def test_a_paired_difference_is_narrower_than_its_parts():
    rng = np.random.default_rng(3)
    clips = rng.normal(30, 3, 8)
    with_map = clips + 0.1 + rng.normal(0, 0.01, (3, 8))
    without = clips + rng.normal(0, 0.01, (3, 8))
    paired, alone = bootstrap((with_map - without)[None]), bootstrap(with_map[None])
    assert paired.width < 0.05 < 1 < alone.width
    assert paired.low > 0


def test_ranks_and_the_order():
    assert ranks(np.array([[3.0, 1.0, 3.0, 0.0]])).tolist() == [[3.5, 2, 3.5, 1]]
    order = rank_correlation([33.71, 33.64, 33.86, 33.89])
    assert order(np.array([[2.0, 1, 3, 4], [4, 3, 2, 1]])).tolist() == pytest.approx([1, -0.8])
    assert order(np.ones((1, 4)))[0] == 0, 'no order at all'
    values = np.arange(4.0)[:, None, None] + np.random.default_rng(0).normal(0, 0.05, (4, 3, 6))
    found = bootstrap(values, rank_correlation([1, 2, 3, 4]))
    assert (found.value, found.low) == (1, 1)


def at(low, high):
    return Interval((low + high) / 2, low, high, 3, 8)


def test_verdicts_on_a_published_number_are_two_sided():
    for low, high, verdict in (
        (0.95, 1.1, REPRODUCED),
        (1.2, 1.4, BETTER),
        (-0.2, 0.1, NOT_REPRODUCED),
        (0.8, 1.3, INCONCLUSIVE),
        (1.1, 1.2, INCONCLUSIVE),
    ):
        assert judged_against(at(low, high), 1.04, 0.1)[0] == verdict
    assert judged_value(32.7, 30, 0.1)[0] == BETTER
    assert judged_value(29.8, 30, 0.1)[0] == NOT_REPRODUCED
    assert judged_value(30.05, 30, 0.1) == (REPRODUCED, '')


def test_verdicts_where_no_number_is_published():
    for low, high, verdict in (
        (0.01, 0.2, REPRODUCED),
        (-0.03, 0.02, NOT_REPRODUCED),
        (-0.4, -0.1, NOT_REPRODUCED),
        (-0.2, 0.2, INCONCLUSIVE),
    ):
        assert judged_above(at(low, high), 0, 0.05)[0] == verdict
    assert 'too wide' in judged_above(at(-0.2, 0.2), 0, 0.05)[1]


def test_the_worst_verdict_is_that_of_a_row():
    assert together([REPRODUCED, INCONCLUSIVE, BETTER]) == INCONCLUSIVE
    assert together([REPRODUCED, NOT_REPRODUCED, INCONCLUSIVE]) == NOT_REPRODUCED
    assert together([REPRODUCED, BETTER]) == BETTER
    assert together([]) == MEASURED
