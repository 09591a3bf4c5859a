import pytest
from hypothesis import given
from hypothesis import strategies as st

from votes.archs.windows import window_indices

MODES = ['replicate', 'reflection', 'reflection_circle', 'circle']


@pytest.mark.parametrize(
    ('mode', 'at0', 'at1', 'at_last'),
    [
        ('replicate', [0, 0, 0, 1, 2], [0, 0, 1, 2, 3], [97, 98, 99, 99, 99]),
        ('reflection', [2, 1, 0, 1, 2], [1, 0, 1, 2, 3], [97, 98, 99, 98, 97]),
        ('reflection_circle', [4, 3, 0, 1, 2], [4, 0, 1, 2, 3], [97, 98, 99, 96, 95]),
        ('circle', [3, 4, 0, 1, 2], [4, 0, 1, 2, 3], [97, 98, 99, 95, 96]),
    ],
)
def test_by_hand(mode, at0, at1, at_last):
    assert window_indices(0, 100, 5, mode) == at0
    assert window_indices(1, 100, 5, mode) == at1
    assert window_indices(99, 100, 5, mode) == at_last
    assert window_indices(50, 100, 5, mode) == [48, 49, 50, 51, 52]


@given(st.sampled_from(MODES), st.sampled_from([1, 3, 5, 7]), st.integers(0, 20), st.data())
def test_always_inside_with_its_centre(mode, frames, more, data):
    length = frames + more
    centre = data.draw(st.integers(0, length - 1))
    indices = window_indices(centre, length, frames, mode)
    assert indices[frames // 2] == centre
    assert len(indices) == frames
    assert all(0 <= i < length for i in indices)
    if mode in ('reflection_circle', 'circle'):
        assert len(set(indices)) == frames


def test_short_clip():
    with pytest.raises(ValueError, match='shorter than the window'):
        window_indices(0, 4, 5, 'replicate')
