"""Work that is done before it is asked for."""

import multiprocessing

import pytest
import torch

from votes.data.ahead import ahead, copied_ahead


def test_working_ahead():
    made = []

    def items(fail=None):
        for i in range(100):
            if i == fail:
                raise ValueError('broken source')
            made.append(i)
            yield i

    assert list(ahead(items(), 3)) == list(range(100))
    with pytest.raises(ValueError, match='broken source'):
        list(ahead(items(5), 3))
    made.clear()
    some = ahead(items(), 3)
    assert next(some) == 0
    some.close()
    assert len(made) <= 6, 'not further ahead than asked for, and nothing goes on afterwards'


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_batches_arrive_on_the_gpu():
    batches = [{'lq': torch.full((8, 64, 64), i, dtype=torch.uint8).pin_memory(), 'key': [str(i)]} for i in range(20)]
    for i, batch in enumerate(copied_ahead(batches, torch.device('cuda', 0))):
        total = sum(batch['lq'].float().sqrt().square().mean() for _ in range(10)) / 10
        assert batch['lq'].is_cuda
        assert batch['key'] == [str(i)]
        assert float(total) == pytest.approx(i, abs=1e-3)


def test_what_is_forked_there_ends_well():
    """Data workers are: one that ends with another exit code would end the training."""

    def codes():
        process = multiprocessing.get_context('fork').Process(target=int)
        process.start()
        process.join()
        yield process.exitcode

    assert list(ahead(codes(), 1)) == [0]
