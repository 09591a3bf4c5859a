"""Programs of this project without an interpreter of their own: one that has loaded everything forks them."""

import gc
import importlib
import logging
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import traceback
from multiprocessing import util

OURS = [sys.executable, '-m']
LOADED = 'votes.train', 'votes.test', 'votes.restore', 'torch._dynamo', 'matplotlib.figure'
OWN = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGALRM: signal.SIG_DFL}
OWN |= dict.fromkeys((signal.SIGUSR1, signal.SIGHUP, signal.SIGCHLD), signal.SIG_DFL)
KEPT = []


class Forked(subprocess.Popen):
    """`python -m votes.MODULE ...` as a process that is forked from this one; any other, and launchers, as ever.

    It has its own signals, streams, folder, environment and exit code, and dies of what a process dies of. What it does
    not do is to load PyTorch again, which takes longer than most of what tests let it do.
    """

    def _execute_child(self, args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more):
        words = [os.fspath(word) for word in args] if isinstance(args, list) else []
        if words[:2] != OURS or not words[2].startswith('votes.') or 'launch' in words:
            super()._execute_child(args, executable, preexec_fn, close_fds, pass_fds, cwd, env, *more)
            return
        for name in LOADED:
            importlib.import_module(name)
        pipes, own_session = more[3:9], more[14]
        streams = pipes[0], pipes[3], pipes[5]
        context = multiprocessing.get_context('fork')
        process = context.Process(target=become, args=(words[2:], streams, cwd, env, own_session), daemon=False)
        process.start()
        multiprocessing.process._children.discard(process)  # its end is for this object to see
        self.pid = process.pid
        self._child_created = True
        self._close_pipe_fds(*pipes)


def become(words, streams, cwd, env, own_session):
    gc.freeze()  # what this process did not make it does not free
    if own_session:
        os.setsid()
    for number, stream in enumerate(streams):
        if stream != -1:
            os.dup2(stream, number)
    os.closerange(3, 2**16)
    KEPT.extend((sys.stdin, sys.stdout, sys.stderr))  # freed, they wait for a lock that another thread may have held
    sys.stdin, sys.stdout, sys.stderr = (os.fdopen(n, mode, closefd=False) for n, mode in enumerate('rww'))
    logging.root.handlers.clear()
    for logger in logging.root.manager.loggerDict.values():
        for handler in getattr(logger, 'handlers', ()):
            if isinstance(handler, logging.StreamHandler):
                handler.stream = sys.stderr  # setStream flushes the one before
    for number, handler in OWN.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    if cwd is not None:
        os.chdir(cwd)
    if env is not None:
        os.environ.clear()
        os.environ.update(env)
    sys.path[:0] = [os.getcwd(), *filter(None, os.environ.get('PYTHONPATH', '').split(os.pathsep))]
    importlib.invalidate_caches()
    sys.argv = list(words)
    code = 1
    try:
        runpy.run_module(words[0], run_name='__main__', alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        util._exit_function()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)  # what multiprocessing does here fails where a thread has forked
