"""torchrun as `votes launch` starts it: it ends with its launcher, and what failed is said in a line a process."""

from __future__ import annotations

import logging
import os
import signal
import sys

from votes.processes.parent import child_environment, end_with_parent


def main(arguments: list[str]) -> int:
    """Runs torchrun. Returns 0, or 1 where a process failed; what it has printed itself is not repeated."""
    end_with_parent()
    os.environ.update(child_environment())
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    logging.getLogger('torch.distributed.elastic').setLevel(logging.CRITICAL)
    try:
        run.main(arguments)
    except ChildFailedError as error:
        for rank, failure in sorted(error.failures.items()):
            if failure.exitcode not in (1, 2):  # those have said why
                print(f'rank {rank} (process {failure.pid}) {ended(failure.exitcode)}', file=sys.stderr)
        return 1
    except SignalException as error:
        return 128 + int(error.sigval)
    return 0


def ended(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f'ended with exit code {code}'
    try:
        return f'was ended by {signal.Signals(-code).name}'
    except ValueError:
        return f'was ended by signal {-code}'


if __name__ == '__main__':
    raise SystemExit(main(sys.argv[1:]))
