"""The shuffle is a permutation, a function of its key, and uniform."""

import numpy as np
import pytest

from minielectra.data.dataset.shuffle import shuffled_index


@pytest.mark.parametrize("n", [*range(1, 201), 1000, 12_345])
def test_it_is_a_permutation(n):
    for key in (0, 7, (3, 1)):
        assert np.array_equal(np.sort(shuffled_index(np.arange(n), n, key)), np.arange(n))


def test_it_is_a_function_and_uniform():
    n = 1000
    whole = shuffled_index(np.arange(n), n, (1, 2))
    assert whole.dtype == np.int64
    assert shuffled_index(17, n, (1, 2)) == whole[17]
    assert np.array_equal(shuffled_index(np.arange(20).reshape(4, 5), n, (1, 2)), whole[:20].reshape(4, 5))
    assert (shuffled_index(np.arange(n), n, (2, 1)) == whole).mean() < 0.02
    assert abs(np.corrcoef(np.arange(n), whole)[0, 1]) < 0.15
    # Where does an index land over many keys? Chi-squared with 9 degrees of freedom; 30 is far in the tail.
    for n, i in [(10, 0), (10, 9), (1000, 0), (1000, 500)]:
        places = [int(shuffled_index(i, n, (key, 0))) for key in range(2000)]
        bins = np.bincount([place * 10 // n for place in places], minlength=10)
        assert ((bins - 200) ** 2 / 200).sum() < 30
    with pytest.raises(ValueError, match="outside"):
        shuffled_index(10, 10, 0)
