"""The `votes` command: a verb each, every one a short function that calls one room."""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import traceback
from pathlib import Path

from votes.errors import UserError
from votes.processes.parent import end_with_parent
from votes.processes.signals import forget_early, note_from_now_on


def _train(parser: argparse.ArgumentParser) -> None:
    from votes import train

    train.add_arguments(parser)
    parser.set_defaults(function=train.run)


def _test(parser: argparse.ArgumentParser) -> None:
    from votes import test

    test.add_arguments(parser)
    parser.set_defaults(function=test.run)


def _restore(parser: argparse.ArgumentParser) -> None:
    from votes.commands import restore as command

    command.add_arguments(parser)
    parser.set_defaults(function=command.run)


def _dfm(parser: argparse.ArgumentParser) -> None:
    from votes.commands import restore as command

    command.add_dfm_arguments(parser)
    parser.set_defaults(function=command.run_dfm)


def _probe(parser: argparse.ArgumentParser) -> None:
    from votes.commands import restore as command

    command.add_probe_arguments(parser)
    parser.set_defaults(function=command.run_probe)


def _demo_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('output', type=Path, metavar='OUT', help='folder to make')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--qp', type=int, default=28, help='H.264 quantiser of the compressed clips (0 to 51)')
    parser.add_argument('--overwrite', action='store_true', help='replace a folder that exists')

    def run(args: argparse.Namespace) -> int:
        from votes.data.tools.demo import make_demo_data

        make_demo_data(args.output, seed=args.seed, qp=args.qp, overwrite=args.overwrite)
        return 0

    parser.set_defaults(function=run)


def _sense(parser: argparse.ArgumentParser) -> None:
    from votes.commands import sense

    sense.add_arguments(parser)
    parser.set_defaults(function=sense.run)


def _launch(parser: argparse.ArgumentParser) -> None:
    from votes.processes import launch

    launch.add_arguments(parser)
    parser.set_defaults(function=launch.run)


def _checkpoint(parser: argparse.ArgumentParser) -> None:
    from votes.commands import checkpoint as checkpoints

    actions = parser.add_subparsers(dest='action', required=True, metavar='ACTION')
    inspect = actions.add_parser('inspect', help='what is in a file of weights or a training state')
    inspect.add_argument('file', type=Path)
    verify = actions.add_parser('verify', help='checksums of every checkpoint of a run; exit code 1 if one is damaged')
    verify.add_argument('run', type=Path, metavar='experiments/NAME')
    verify.add_argument('--repair', action='store_true', help='mend small files, set damaged checkpoints aside')
    convert = actions.add_parser('convert', help='to .safetensors, or to .pth as BasicSR and the release have it')
    convert.add_argument('input', type=Path)
    convert.add_argument('output', type=Path)
    convert.add_argument('--param-key', help='which weights of the file (default: params_ema, then params)')
    convert.add_argument('--dsm', action='store_true', help='only the DSM of a VOTES, as a checkpoint of stage 1')
    convert.add_argument('--overwrite', action='store_true', help='replace an output that exists')

    def run(args: argparse.Namespace) -> int:
        if args.action == 'inspect':
            print(checkpoints.inspect(args.file))
        elif args.action == 'verify':
            good, text = checkpoints.verify(args.run, args.repair)
            print(text)
            return 0 if good else 1
        else:
            print(checkpoints.convert(args.input, args.output, args.param_key, args.dsm, args.overwrite))
        return 0

    parser.set_defaults(function=run)


def _compare_runs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('first', type=Path, metavar='experiments/A')
    parser.add_argument('second', type=Path, metavar='experiments/B')

    def run(args: argparse.Namespace) -> int:
        from votes.commands.compare_runs import compare_runs

        equal, text = compare_runs(args.first, args.second)
        print(text)
        return 0 if equal else 1

    parser.set_defaults(function=run)


def _lineage(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('run', type=Path, metavar='experiments/NAME')

    def run(args: argparse.Namespace) -> int:
        from votes.training.history import lineage

        print('\n'.join(lineage(args.run)))
        return 0

    parser.set_defaults(function=run)


def _pack(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('source', type=Path, help='folders of pictures, videos, raw YUV, an LMDB or a packed store')
    parser.add_argument('output', type=Path, nargs='?', help='store to make')
    parser.add_argument('--to', choices=('packed', 'lmdb'), default='packed', help='raw frames, or PNG as BasicSR does')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='threads that decode')
    parser.add_argument(
        '--verify', action='store_true', help='read SOURCE through instead; exit code 1 if it is damaged'
    )

    def run(args: argparse.Namespace) -> int:
        from votes.data.tools.pack import pack, verify

        if args.verify:
            problems = verify(args.source)
            print('\n'.join(problems) or f'{args.source}: good')
            return 1 if problems else 0
        if args.output is None:
            raise UserError('where to?', fix='votes pack SOURCE OUTPUT')
        pack(args.source, args.output, args.to, args.workers)
        return 0

    parser.set_defaults(function=run)


def _degrade(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='RECIPE.yml', help='such as options/degrade/reds_x2_qp28.yml')
    parser.add_argument('source', type=Path, help='folders of pictures, videos, raw YUV, an LMDB or a packed store')
    parser.add_argument('output', type=Path, help='folder to make')
    parser.add_argument('--gt', type=Path, metavar='OUT', help='writes the originals of the frames that are shown here')
    parser.add_argument('--metadata', type=Path, metavar='OUT', help='writes motion vectors and quantisers here')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='clips at a time')

    def run(args: argparse.Namespace) -> int:
        from votes.data.degrading import degrade_source
        from votes.video.recipe import read_recipe

        recipe = read_recipe(args.opt)
        given = {'originals': args.gt, 'metadata': args.metadata, 'workers': args.workers}
        degrade_source(args.source, args.output, recipe, **given)
        return 0

    parser.set_defaults(function=run)


def _metrics(parser: argparse.ArgumentParser) -> None:
    from votes.commands import metrics as measure

    measure.add_arguments(parser)
    parser.set_defaults(function=measure.run)


def _report(parser: argparse.ArgumentParser) -> None:
    from votes.reports import page

    page.add_arguments(parser)
    parser.set_defaults(function=page.run)


def _plot(parser: argparse.ArgumentParser) -> None:
    from votes.reports import plot

    plot.add_arguments(parser)
    parser.set_defaults(function=plot.run)


def _finetune(parser: argparse.ArgumentParser) -> None:
    from votes.commands import finetune

    finetune.add_arguments(parser)
    parser.set_defaults(function=finetune.run)


def _reproduce(parser: argparse.ArgumentParser) -> None:
    from votes.studies import reproduce

    reproduce.add_arguments(parser)
    parser.set_defaults(function=reproduce.run)


def _metadata(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('videos', type=Path, help='folder of video files')
    parser.add_argument('output', type=Path, help="folder for what their codec says: a dataset's codec_metadata")

    def run(args: argparse.Namespace) -> int:
        from votes.data.codec_metadata import extract_metadata

        extract_metadata(args.videos, args.output)
        return 0

    parser.set_defaults(function=run)


def _prepare(parser: argparse.ArgumentParser) -> None:
    from votes.data.tools import prepare

    prepare.add_arguments(parser)
    parser.set_defaults(function=prepare.run)


def _check_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='option file whose datasets are looked through')
    parser.add_argument('--all', action='store_true', help='read every frame, not the first 24 of each clip')
    parser.add_argument('--json', action='store_true', help='findings as JSON')
    parser.add_argument('--write-list', type=Path, metavar='GOOD.txt', help='meta_info list of training clips that fit')

    def run(args: argparse.Namespace) -> int:
        import json

        from votes.data.tools.check import SAMPLED, as_json, check_option_file, may_train

        found = check_option_file(args.opt, args.all, args.write_list)
        if args.json:
            print(json.dumps(as_json(found), indent=1))
        else:
            print('\n'.join(map(str, found)) or 'nothing found')
            if not args.all:
                print(f'(the first {SAMPLED} frames of each clip were read; --all reads all)')
        return 0 if may_train(found) else 1

    parser.set_defaults(function=run)


def _bench_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='training option file')
    parser.add_argument('--seconds', type=float, default=5, help='how long to read samples')

    def run(args: argparse.Namespace) -> int:
        from votes.data.tools.speed import measure_option_file

        print(measure_option_file(args.opt, args.seconds))
        return 0

    parser.set_defaults(function=run)


def _sheet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('-opt', required=True, metavar='FILE.yml', help='test option file')
    parser.add_argument('-o', '--output', type=Path, required=True, help='PNG to write')
    parser.add_argument('--frames', type=int, default=3, help='how many frames, spread over the test set')
    parser.add_argument('--overwrite', action='store_true', help='replace an output that exists')

    def run(args: argparse.Namespace) -> int:
        from votes.reports.sheet import make_sheet

        if args.frames < 1 or args.output.suffix.lower() not in ('.png', '.jpg'):
            raise UserError('a sheet has frames and is a .png or .jpg', value=f'{args.frames} frames, {args.output}')
        if args.output.exists() and not args.overwrite:
            raise UserError('the output exists', where=args.output, fix='choose another name, or --overwrite')
        make_sheet(args.opt, args.output, args.frames)
        print(args.output)
        return 0

    parser.set_defaults(function=run)


def _compare(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('results', type=Path, nargs='+', metavar='results.json', help='files that `votes test` wrote')

    def run(args: argparse.Namespace) -> int:
        from votes.reports.compare import comparison

        print(comparison(args.results))
        return 0

    parser.set_defaults(function=run)


def _doctor(parser: argparse.ArgumentParser) -> None:
    def run(_: argparse.Namespace) -> int:
        from votes.commands.doctor import diagnosis

        print(diagnosis())
        return 0

    parser.set_defaults(function=run)


def _check_network(parser: argparse.ArgumentParser) -> None:
    from votes.commands import check_network

    check_network.add_arguments(parser)
    parser.set_defaults(function=check_network.run)


def _zoo(parser: argparse.ArgumentParser) -> None:
    from votes.commands import zoo

    zoo.add_arguments(parser)
    parser.set_defaults(function=zoo.run)


def _new(parser: argparse.ArgumentParser) -> None:
    from votes.commands import new_network

    new_network.add_arguments(parser)
    parser.set_defaults(function=new_network.run)


def _bench(parser: argparse.ArgumentParser) -> None:
    from votes.commands import bench

    bench.add_arguments(parser)
    parser.set_defaults(function=bench.run)


def _explain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument('word', metavar='KEY|NAME', help='an option key, or a name that option files may use')

    def run(args: argparse.Namespace) -> int:
        from votes.options.reference import explain

        print(explain(args.word))
        return 0

    parser.set_defaults(function=run)


def _list(parser: argparse.ArgumentParser) -> None:
    def run(_: argparse.Namespace) -> int:
        from votes import registry

        for kind in vars(registry).values():
            if isinstance(kind, registry.Registry):
                print(f'{kind.kind}:')
                print('\n'.join(f'  {name:<28}{kind.describe(name)}'.rstrip() for name in kind.names()))
        return 0

    parser.set_defaults(function=run)


VERBS = {
    'train': (_train, 'train a network from an option file'),
    'test': (_test, 'evaluate a network from an option file'),
    'sense': (_sense, 'degradation maps of a data set, stored, so that stage 2 trains without running the DSM'),
    'launch': (_launch, 'train or test on several processes and machines'),
    'finetune': (_finetune, 'adapt a trained network to the videos of another platform'),
    'reproduce': (_reproduce, 'a table or figure of the paper: run what is missing, compare, draw'),
    'restore': (_restore, 'restore a video file, or many'),
    'dfm': (_dfm, 'the degradation map of a video as a heat-map video'),
    'probe': (_probe, 'what a video file holds, and how strongly it is compressed'),
    'demo-data': (_demo_data, 'make small compressed clips from photographs'),
    'degrade': (_degrade, 'clips through a recipe of shrinking and real codecs'),
    'prepare': (_prepare, 'a downloaded dataset into clips, lists and splits'),
    'metadata': (_metadata, 'motion vectors, quantisers and picture types of videos'),
    'pack': (_pack, 'frames into a store that reads crops fast, or into an LMDB'),
    'check-data': (_check_data, 'what is wrong with training pairs; exit code 1 if training makes no sense'),
    'bench-data': (_bench_data, 'how fast training samples are read, and what the time goes into'),
    'bench': (_bench, 'run a benchmark of this project and keep its result'),
    'metrics': (_metrics, 'two videos or folders of frames compared; or results files'),
    'report': (_report, 'a run or a study as one HTML page'),
    'plot': (_plot, 'curves of several runs in one figure, for papers'),
    'sheet': (_sheet, 'a picture of LQ, DFM, restored, GT and error'),
    'compare': (_compare, 'results of several evaluations in one table'),
    'compare-runs': (_compare_runs, 'the first step at which two training runs differ'),
    'lineage': (_lineage, 'what a run came from, and what had changed each time it went on'),
    'checkpoint': (_checkpoint, 'inspect, verify or convert checkpoints'),
    'new': (_new, 'a network to start from: its file, row, option file and test'),
    'check-network': (_check_network, 'whether a network keeps what it promises; exit code 1 if it does not'),
    'zoo': (_zoo, 'every network: what it sees, parameters, arithmetic, memory, option files, parity'),
    'doctor': (_doctor, 'what works on this machine'),
    'explain': (_explain, 'what an option key means, or what a network, loss or dataset takes'),
    'list': (_list, 'names that option files may use'),
}


def main(argv: list[str] | None = None) -> int:
    """Exit codes: 0 done, 2 bad input; anything else is a crash."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] in (['train'], ['launch']):  # they listen to requests to stop, from now on
        note_from_now_on()
        end_with_parent()
    try:
        return _main(argv)
    finally:
        forget_early()


def _main(argv: list[str]) -> int:
    if argv and argv[0] not in VERBS and not argv[0].startswith('-'):
        near = difflib.get_close_matches(argv[0], VERBS, n=1, cutoff=0.5)
        guess = f'; did you mean {near[0]!r}?' if near else ''
        print(f'error: there is no verb {argv[0]!r}{guess}\n`votes --help` lists them', file=sys.stderr)
        return 2
    parser = argparse.ArgumentParser(
        prog='votes', description='Restoring videos that social platforms have shrunk and compressed.'
    )
    verbs = parser.add_subparsers(dest='verb', required=True, metavar='VERB')
    for name, (add, text) in VERBS.items():
        verb = verbs.add_parser(name, help=text, description=text)
        if name in argv[:1]:  # only the verb that runs is imported
            add(verb)
    args = parser.parse_args(argv)
    try:
        return int(args.function(args))
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _as_program() -> None:
    """Without Python's own end where there is a process group, also after a crash, see `end_process`."""
    if 'RANK' not in os.environ:
        raise SystemExit(main())
    from votes.processes.program import end_process

    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = 1
    end_process(code)


if __name__ == '__main__':
    _as_program()
