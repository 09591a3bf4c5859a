"""One owner of a folder: refused with the holder named, taken over from the dead, a loser stops."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from votes.errors import UserError
from votes.processes import lease
from votes.processes.lease import Lease, LeaseLost, owner_of

QUICK = {'beat': 0.05, 'patience': 0.4}


def files(folder):
    return sorted(p.name for p in folder.iterdir() if '.owner.' in p.name)


def test_a_second_owner_is_refused_and_told_who_holds(tmp_path):
    with Lease(tmp_path / 'run', 'training'):
        with pytest.raises(UserError, match=f'training, process {os.getpid()} on ') as caught:
            Lease(tmp_path / 'run', 'training').acquire()
        assert 'taken over by itself' in str(caught.value)
        assert owner_of(tmp_path / 'run')['pid'] == os.getpid()
    assert not files(tmp_path)
    with Lease(tmp_path / 'run', 'training'):
        assert files(tmp_path) == ['.run.owner.1.json']


def test_two_names_of_one_folder_are_one_folder(tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'other').symlink_to('run')
    with Lease(tmp_path / 'run', 'training'), pytest.raises(UserError, match='another process owns'):
        Lease(tmp_path / 'other', 'training').acquire()


def hold(folder):
    Lease(folder, 'training').acquire()
    (folder.parent / 'ready').touch()
    time.sleep(60)


def test_a_killed_owner_is_succeeded_at_once(tmp_path):
    child = multiprocessing.get_context('fork').Process(target=hold, args=(tmp_path / 'run',))
    child.start()
    while not (tmp_path / 'ready').exists():
        time.sleep(0.01)
    with pytest.raises(UserError, match=f'process {child.pid} on'):
        Lease(tmp_path / 'run', 'training').acquire()
    os.kill(child.pid, signal.SIGKILL)
    time.sleep(0.1)  # a zombie until it is joined: dead all the same
    with Lease(tmp_path / 'run', 'training'):
        assert files(tmp_path) == ['.run.owner.2.json']
    child.join()


def pretend(folder, number=1, **changes):
    """A lease of a process somewhere else."""
    content = {**lease._here(), 'what': 'training', 'host': 'far', 'machine': 'another', 'since': 'noon', **changes}
    path = folder.with_name(f'.{folder.name}.owner.{number}.json')
    path.write_text(json.dumps(content))
    return path


def test_another_machine_is_watched(tmp_path):
    path = pretend(tmp_path / 'run')
    started = time.monotonic()
    with Lease(tmp_path / 'run', 'training', **QUICK):
        assert time.monotonic() - started > 0.3, 'nobody is declared dead in a hurry'
    path = pretend(tmp_path / 'run')
    touching = multiprocessing.get_context('fork').Process(target=touch_for_ever, args=(path,))
    touching.start()
    try:
        with pytest.raises(UserError, match='on far, since noon'):
            Lease(tmp_path / 'run', 'training', **QUICK).acquire()
    finally:
        touching.kill()
        touching.join()


def touch_for_ever(path):
    while True:
        os.utime(path)
        time.sleep(0.03)


def test_an_old_lease_of_another_machine_needs_no_watching(tmp_path):
    os.utime(pretend(tmp_path / 'run'), (1, 1))
    started = time.monotonic()
    with Lease(tmp_path / 'run', 'training'):
        assert time.monotonic() - started < 5


@pytest.mark.parametrize('change', [{'start': '1'}, {'pid': 2**22 + 1}])
def test_a_number_that_was_given_again_is_another_process(tmp_path, change):
    pretend(tmp_path / 'run', **{'machine': lease._machine(), **change})
    with Lease(tmp_path / 'run', 'training'):
        pass


def test_a_writer_that_lost_it_stops_itself(tmp_path):
    mine = Lease(tmp_path / 'run', 'training', beat=0.02)
    mine.acquire()
    mine.check()
    pretend(tmp_path / 'run', 2)
    with pytest.raises(LeaseLost, match=r'belongs to training, process \d+ on far'):
        mine.check()
    time.sleep(0.1)
    assert mine.lost
    mine.release()
    assert files(tmp_path) == ['.run.owner.2.json'], "another one's lease is not given back"


def try_to_hold(folder, go, won):
    go.wait()
    try:
        Lease(folder, 'training').acquire()
    except UserError:
        return
    with won.get_lock():
        won.value += 1
    time.sleep(60)


def test_of_many_that_start_together_one_wins(tmp_path):
    pretend(tmp_path / 'run', 7, machine=lease._machine(), start='1')
    context = multiprocessing.get_context('fork')
    go, won = context.Event(), context.Value('i', 0)
    many = [context.Process(target=try_to_hold, args=(tmp_path / 'run', go, won)) for _ in range(8)]
    for process in many:
        process.start()
    go.set()
    until = time.monotonic() + 30
    while sum(process.is_alive() for process in many) > 1 and time.monotonic() < until:
        time.sleep(0.02)
    alive = [process for process in many if process.is_alive()]
    for process in alive:
        process.kill()
    assert (len(alive), won.value) == (1, 1)
    assert files(tmp_path) == ['.run.owner.8.json']


@pytest.mark.parametrize('damage', [b'', b'{', b'[]', b'\xff\xfe', b'{"pid": "x"}'])
def test_a_damaged_lease_is_watched_like_one_from_elsewhere(tmp_path, damage):
    (tmp_path / '.run.owner.1.json').write_bytes(damage)
    with Lease(tmp_path / 'run', 'training', **QUICK):
        assert files(tmp_path) == ['.run.owner.2.json']
