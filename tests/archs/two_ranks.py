"""One of two processes that train every option file of a list for two steps: python two_ranks.py RANK PORT FILE ..."""

import json
import os
import sys
import traceback
from pathlib import Path

import torch

from votes.cli import main

if __name__ == '__main__':
    rank, port, files = int(sys.argv[1]), int(sys.argv[2]), [Path(name) for name in sys.argv[3:]]
    torch.set_num_threads(1)
    os.environ |= {'RANK': str(rank), 'LOCAL_RANK': str(rank), 'WORLD_SIZE': '2', 'MASTER_ADDR': '127.0.0.1'}
    codes = {}
    for number, file in enumerate(files):
        os.environ['MASTER_PORT'] = str(port + number)
        os.chdir(file.parent)
        try:
            more = ['--set', 'dist_params.first_timeout=100', 'dist_params.timeout=100']
            codes[file.parent.name] = main(['train', '-opt', file.name, '--launcher', 'pytorch', *more])
        except Exception:
            codes[file.parent.name] = traceback.format_exc()
        if codes[file.parent.name]:
            break  # the other process waits for this one in vain: the rest has to be run without it
    print(json.dumps(codes))
    sys.stdout.flush()
    os._exit(0)
