"""Option files: every trap of YAML, every problem at once with its line."""

import re
import textwrap

import pytest
import yaml

from votes.errors import UserError
from votes.options import OptionError, load_options
from votes.options.yaml_file import read_option_file

STAGE2 = """\
name: run
model_type: VOTESModel
scale: 2
datasets:
  train:
    type: UVSSMDataset
    dataroot_gt: ./gt
    dataroot_lq: ./lq
    gt_size: 64
network_g:
  type: VOTES
  bin_model: ./bin.pth
train:
  optim_g: {type: Adam, lr: 1e-4, betas: [0.9, 0.99]}
  scheduler:
    type: MultiStepLR
    milestones: [10, 20]
  total_iter: 1e2
  pixel_opt:
    type: CharbonnierLoss
"""


@pytest.fixture
def write(tmp_path):
    def write(text, name='opt.yml'):
        (tmp_path / name).write_text(textwrap.dedent(text))
        return tmp_path / name

    return write


@pytest.fixture
def load(write):
    return lambda text, mode='train', overrides=(), **kwargs: load_options(
        write(text), mode, list(overrides), **{'check_paths': False, **kwargs}
    )


def problems(load, text, **kwargs):
    with pytest.raises(OptionError) as caught:
        load(text, **kwargs)
    return [re.sub(r'/\S*/(\w+\.yml)', r'\1', line) for line in caught.value.problems]


def changed(*changes, text=STAGE2):
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_values_and_defaults(load):
    opt = load(STAGE2)
    assert opt.train.optim_g.args == {'lr': 1e-4, 'betas': (0.9, 0.99)}
    assert opt.train.total_iter == 100
    assert opt.path.bin_model == './bin.pth'
    assert 'bin_model' not in opt.network_g.args
    assert opt.val.metrics['psnr'].args == {'crop_border': 2, 'test_y_channel': True}
    assert opt.logger.use_tb_logger is True


def test_scalars_are_those_of_yaml_1_2(write):
    data = read_option_file(
        write("""
        a: 1e-4
        b: !!float 2e4
        c: no
        d: on
        e: 012
        f: 12:30
        g: True
        h: ~
        i: 0x10
        j: -.5
        k: [1, 2.0, x]
        l: !!str 5
        """)
    ).data
    assert data == {
        'a': 1e-4, 'b': 2e4, 'c': 'no', 'd': 'on', 'e': 12, 'f': '12:30', 'g': True, 'h': None, 'i': 16, 'j': -0.5,
        'k': [1, 2.0, 'x'], 'l': '5',
    }  # fmt: skip
    assert isinstance(data['b'], float)


def test_every_problem_at_once_with_its_line(load):
    found = problems(
        load,
        changed(
            ('gt_size: 64', 'gt_sise: 64\n    gt_sise: 65\n    batch_size_per_gpu: none'),  # lines 9 to 11
            ('type: VOTES\n', 'type: VOTES\n  deformable_group: 8\n  num_feat: many\n'),
            ('lr: 1e-4', 'lr: fast, betta: 1'),
            ('[10, 20]', '[10, soon]'),
            ('type: CharbonnierLoss', 'type: CharbonnierLoss\n    reduction: average'),
            ('scale: 2', 'scale: two'),
        )
        + '  warm_up: 3\nlogger:\n  print_freq: 0\nextra: 1\n',
    )
    assert found == [
        'opt.yml:10: datasets.train.gt_sise: written twice, first at opt.yml:9',
        "opt.yml:3: scale: Input should be a valid integer, unable to parse string as an integer (value 'two')",
        'opt.yml:11: datasets.train.batch_size_per_gpu: Input should be a valid integer, unable to parse string as an '
        "integer (value 'none')",
        "opt.yml:26: train.warm_up: unknown key; did you mean 'warmup_iter'?",
        'opt.yml:28: logger.print_freq: Input should be greater than or equal to 1 (value 0)',
        'opt.yml:29: extra: unknown key',
        "opt.yml:14: network_g.deformable_group: unknown key of VOTES; did you mean 'deformable_groups'?",
        'opt.yml:15: network_g.num_feat: Input should be a valid integer, unable to parse string as an '
        "integer (value 'many')",
        "opt.yml:9: datasets.train.gt_sise: unknown key of UVSSMDataset; did you mean 'gt_size'?",
        'opt.yml:18: train.optim_g.lr: Input should be a valid number, unable to parse string as a '
        "number (value 'fast')",
        "opt.yml:18: train.optim_g.betta: unknown key of Adam; did you mean 'betas'?",
        'opt.yml:21: train.scheduler.milestones.1: Input should be a valid integer, unable to parse string as an '
        "integer (value 'soon')",
        "opt.yml:25: train.pixel_opt.reduction: Input should be 'none', 'mean' or 'sum' (value 'average')",
    ]


COSINE = 'type: MultiStepLR\n    milestones: [10, 20]', 'type: CosineAnnealingRestartLR\n    '


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('gt_size: 64', 'gt_size: 60', 'opt.yml:9: datasets.train.gt_size: must be a multiple of 4 * scale = 8'),
        ('gt_size: 64', 'num_frame: 4', 'takes 5 frames'),
        ('gt_size: 64', 'num_frame: 7', 'is 7, the network takes 5'),
        ('gt_size: 64', 'io_backend: {type: petrel}', 'opt.yml:9: datasets.train.io_backend: {type: auto|disk|lmdb'),
        ('scale: 2', 'scale: 4', 'enlarges 2 times, scale is 4'),
        ('total_iter: 1e2', 'total_iter: 100\n  warmup_iter: 100', 'not shorter'),
        ('bin_model: ./bin.pth', 'num_feat: 16', 'needs the DSM trained in an earlier stage'),
        ('type: VOTES\n', 'type: VOTEZ\n', "unknown network 'VOTEZ'; known: VOTES"),
        ('type: VOTES\n', 'type: EDVR\n  scale: 2\n', 'EDVR has no DSM'),
        ('model_type: VOTESModel', 'model_type: VOTSModel', 'DSMModel'),
        ('type: VOTES\n', 'type: VOTES\n  num_feat: 0\n', 'opt.yml:10: network_g: VOTES cannot be built'),
        ('gt_size: 64', 'interval_list: [0]', 'steps of 1 or more frames'),
        ('total_iter: 1e2', 'total_iter: 100\n  parts: {flow: {freeze: true}}', 'VOTES has no such part'),
        ('type: CharbonnierLoss', 'type: L1Loss\n  losses: {a: {type: L1Loss, outputs: x}}', "did you mean 'output'"),
        ('gt_size: 64', 'num_frame: -1', 'is -1, the network takes 5'),
        ('gt_size: 64', 'centre: 1', 'opt.yml:9: datasets.train.centre: is 1, that of the network is 2'),
        ('gt_size: 64', 'pick: peaks', 'is peaks, that of the network is next'),
        (
            'total_iter: 1e2',
            'total_iter: 100\n  lr_mul: {featureextraction.: 0.1}',
            "did you mean 'feature_extraction.'",
        ),
        ('type: CharbonnierLoss', 'type: CharbonnierLoss\n  losses: {a: {type: L1Loss, outputs: x}}', "mean 'output'"),
        ('model_type: VOTESModel\n', '', 'model_type: is missing'),
        ('name: run', 'name: a/b', 'opt.yml:1: name'),
        ('scale: 2', 'scale: 2\nnum_gpu: -1', 'num_gpu: Input should be greater than or equal to 0'),
        (COSINE[0], COSINE[1] + 'periods: [50]', 'end at 50, total_iter is 100'),
        (COSINE[0], COSINE[1] + 'eta_min: 0', "CosineAnnealingRestartLR needs 'periods'"),
        ('  train:\n    type', '  training:\n    type', 'datasets are called'),
        ('\ntrain:', '\ntrian:', "opt.yml:13: trian: unknown key; did you mean 'train'?"),
        ('betas: [0.9, 0.99]', 'betas: [0.9, x]', 'opt.yml:14: train.optim_g.betas.1: Input should be a valid number'),
    ],
)
def test_what_does_not_belong_together(load, old, new, message):
    assert message in '\n'.join(problems(load, changed((old, new))))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ((COSINE[0], COSINE[1] + 'periods: [50, 50]'), '17: train.scheduler.periods: 2 periods but 1 restart_weights'),
        (
            (COSINE[0], COSINE[1] + 'periods: [100, 0]\n    restart_weights: [1, 1]'),
            '17: train.scheduler.periods: periods are lengths of 1',
        ),
        (('[10, 20]', '[20, 10]'), '17: train.scheduler.milestones: milestones must increase'),
        (('[10, 20]', '[10, 20]\n    gamma: [1]'), '18: train.scheduler.gamma: 2 milestones but 1 of gamma'),
        (
            ('[10, 20]', '[10, 20]\n    restart_weights: [1, 2]'),
            '18: train.scheduler.restart_weights: 1 restarts but 2 restart_weights',
        ),
    ],
)
def test_a_schedule_that_cannot_be_is_told_once_at_its_line(load, change, message):
    (said,) = problems(load, changed(change))
    assert said.startswith(f'opt.yml:{message}')


@pytest.mark.parametrize(
    ('key', 'message'),
    [
        ('tsa_iter: 10', 'train.tsa_iter: VDSR has no part fusion'),
        ('dcn_lr_mul: 0.5', 'train.dcn_lr_mul: VDSR has no part deformable'),
    ],
)
def test_keys_of_parts_that_a_network_does_not_have(load, key, message):
    """They would freeze everything, or change nothing."""
    text = changed(('  type: VOTES\n  bin_model: ./bin.pth', '  type: VDSR\n  upscale: 2'))
    assert message in '\n'.join(problems(load, text + f'  {key}\n'))


def test_a_training_compares_something_from_the_start(load):
    text = changed(('pixel_opt:\n    type: CharbonnierLoss', 'losses: {late: {type: L1Loss, from_iter: 5}}'))
    assert 'train.losses: nothing is compared in the first 5 iterations' in '\n'.join(problems(load, text))


def test_side_information_is_asked_for_before_the_first_step(load):
    """Of every data set: the first validation may be hours away."""
    network = ('  type: VOTES\n  bin_model: ./bin.pth', '  type: CAVSR\n  scale: 2')
    val = '  val:\n    type: VideoUVSSMTestDataset\n    dataroot_gt: ./gt\n    dataroot_lq: ./lq\nnetwork_g:'
    text = changed(network, ('gt_size: 64', 'gt_size: 64\n    codec_metadata: ./metadata'), ('network_g:', val))
    assert problems(load, text)[0] == (
        'opt.yml:11: datasets.val: codec_metadata is needed: CAVSR reads mv_past, mv_future, past_valid, future_valid, '
        'pict_type'
    )


def test_a_loss_beside_the_centre_needs_its_frame(load):
    beside = ('pixel_opt:', 'losses: {a: {type: L1Loss, frame: 1}}\n  pixel_opt:')
    assert load(changed(beside))
    found = '\n'.join(problems(load, changed(beside, ('gt_size: 64', 'center_gt: true'))))
    assert 'datasets.train.center_gt: VOTES is compared with more than the centre frame' in found


def test_a_schema_error_brings_no_others_after_it(load):
    assert len(problems(load, changed(('scale: 2', 'scale: two')))) == 1
    assert len(problems(load, changed(('total_iter: 1e2', 'total_iter: soon\n  warmup_iter: 5')))) == 1
    assert len(problems(load, changed(('gt_size: 64', 'num_frame: five')))) == 1


def test_no_dsm_is_needed_without_the_map(load):
    assert load(changed(('bin_model: ./bin.pth', 'dfm: false'))).path.bin_model is None


def test_missing_paths(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'gt').mkdir()
    text = '\n'.join(problems(load, STAGE2, check_paths=True))
    assert 'opt.yml:8: datasets.train.dataroot_lq: no such folder: ./lq' in text
    assert 'opt.yml:12: path.bin_model: no such file: ./bin.pth' in text
    assert 'dataroot_gt' not in text
    (tmp_path / 'lqs').mkdir()
    assert 'has lqs' in '\n'.join(problems(load, STAGE2, check_paths=True))


def test_a_missing_dsm_is_forgotten_where_it_is_not_needed(load, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ('gt', 'lq'):
        (tmp_path / name).mkdir()
    (tmp_path / 'whole.pth').touch()
    for text in (
        changed(('gt_size: 64', 'gt_size: 64\npath:\n  pretrain_network_g: ./whole.pth')),
        changed(('type: VOTES\n', 'type: VOTES\n  dfm: false\n')),
    ):
        opt = load(text, check_paths=True)
        assert opt.path.bin_model is None
        assert 'bin_model ./bin.pth is not there' in opt.notices[0]


def test_base_files(write, load):
    write(STAGE2, 'base.yml')
    opt = load("""
        base: base.yml
        name: other
        network_g:
          num_feat: 32
        train:
          scheduler:
            type: CosineAnnealingRestartLR
            periods: [100]
        """)
    assert (opt.name, opt.network_g.args['num_feat'], opt.train.scheduler.args) == ('other', 32, {'periods': [100]})
    found = '\n'.join(
        problems(
            load,
            changed(
                ('scale: 2', 'scale: two'),
                text="""
        base: base.yml
        scale: 2
        network_g:
          num_feats: 3
        train:
          total_iter: many
        """,
            ),
        )
    )
    for wanted in ('opt.yml:3: scale', 'opt.yml:5: network_g.num_feats', 'opt.yml:7: train.total_iter'):
        assert wanted in found
    write(STAGE2.replace('lr: 1e-4', 'lt: 1e-4'), 'base.yml')
    assert 'base.yml:14: train.optim_g.lt: unknown key' in '\n'.join(problems(load, 'base: base.yml'))
    write('base: opt.yml', 'base.yml')
    with pytest.raises(UserError, match='circle'):
        load('base: base.yml')


def test_null_takes_a_dataset_of_the_base_away(write, load):
    write(STAGE2, 'base.yml')
    opt = load(
        """
        base: base.yml
        datasets:
          train: ~
          test: {type: VideoUVSSMTestDataset, dataroot_gt: ./gt, dataroot_lq: ./lq}
        path: {pretrain_network_g: ~}
        """,
        mode='test',
    )
    assert list(opt.datasets) == ['test']


def test_overrides(load):
    opt = load(
        STAGE2,
        overrides=['train.total_iter=7', 'datasets:train:gt_size=32', 'train.optim_g.lr=1e-2', 'network_g.dfm=false'],
    )
    assert (opt.train.total_iter, opt.datasets['train'].args['gt_size'], opt.train.optim_g.args['lr']) == (7, 32, 0.01)
    assert opt.network_g.args['dfm'] is False
    found = problems(load, STAGE2, overrides=['train.totl_iter=7'])
    assert found == ["command line: train.totl_iter: unknown key; did you mean 'total_iter'?"]
    for override, message in (('train.total_iter', 'KEY=VALUE'), ('train.total_iter=[1', 'not valid YAML')):
        with pytest.raises(UserError) as caught:
            load(STAGE2, overrides=[override])
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ('text', 'message', 'place'),
    [
        ('a: [1', 'not valid YAML', 'opt.yml:1:6'),
        ('a:\n\t- 1', 'not valid YAML', 'opt.yml:2:1'),
        ('a: \x01', 'not valid YAML', 'opt.yml'),
        ('', 'no keys', 'opt.yml'),
        ('- 1', 'no keys', 'opt.yml'),
        ('a: &x\n  b: *x', 'without end', 'opt.yml:'),
    ],
)
def test_files_that_are_no_option_files(load, text, message, place):
    with pytest.raises(UserError, match=message) as caught:
        load(text)
    assert place in str(caught.value)


def test_missing_file(tmp_path):
    (tmp_path / 'other.yml').touch()
    with pytest.raises(UserError, match='cannot be read') as caught:
        load_options(tmp_path / 'none.yml')
    assert 'other.yml' in str(caught.value)


def test_older_names_and_notices(load):
    old = 'path:\n  pretrain_model_g: ./a.pth\n  strict_load: false\n'
    opt = load(
        changed(('gt_size: 64', 'use_hflip: false\n    num_prefetch_queue: 2'))
        + old
        + 'logger:\n  wandb: {project: mine}\n'
    )
    assert (opt.path.pretrain_network_g, opt.path.strict_load_g) == ('./a.pth', False)
    assert opt.datasets['train'].args['use_flip'] is False
    assert opt.notices == [
        'keys that have no effect here: num_prefetch_queue',
        'wandb is not supported yet, TensorBoard and metrics.jsonl are written',
    ]
    assert 'opt.yml:23: path.strict_load: is the older name' in '\n'.join(
        problems(load, STAGE2 + old + '  strict_load_g: true\n')
    )
    assert 'path.bin_model names another file' in '\n'.join(problems(load, STAGE2 + 'path: {bin_model: ./b.pth}'))


def test_what_is_saved_reads_back(load, write):
    opt = load(STAGE2)
    again = load_options(write(yaml.safe_dump(opt.resolved()), 'again.yml'), check_paths=False)
    assert again.resolved() == opt.resolved()


def test_test_mode_needs_weights_and_a_dataset(load):
    text = '\n'.join(problems(load, STAGE2, mode='test'))
    assert 'no dataset to test' in text
    assert 'pretrain_network_g: is missing' in text


def test_merge_keys(tmp_path):
    """YAML's `<<`: the keys of an anchor, less those that are written beside it."""
    (tmp_path / 'm.yml').write_text('a: &a {x: 1, y: {z: 2}}\nb: {<<: *a, x: 3}\nc:\n  <<: [*a]\n  w: 4\n')
    file = read_option_file(tmp_path / 'm.yml')
    assert file.data['b'] == {'x': 3, 'y': {'z': 2}}
    assert file.data['c'] == {'x': 1, 'y': {'z': 2}, 'w': 4}
    assert not file.problems
