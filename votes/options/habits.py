"""Option files of the release and of BasicSR say some things in other words: they are taken as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from votes.options.yaml_file import Key, OptionFile, dotted, section_at, walk

SHIPPED_LISTS = Path(__file__).resolve().parents[1] / 'data' / 'meta_info'
LISTS = ('meta_info_file', 'meta_val_file', 'meta_test_file')
OLDER_NAMES = {
    'path': {'pretrain_model_g': 'pretrain_network_g', 'strict_load': 'strict_load_g'},
    'datasets': {'use_hflip': 'use_flip'},
}
# keys of BasicSR and mmagic for trained networks inside a network: where their weights are, how long they rest, and how
# slowly they learn afterwards. Section, key, its name here, parts
OF_PARTS = (
    ('network_g', 'spynet_path', 'weights', ('flow',)),
    ('network_g', 'spynet_pretrained', 'weights', ('flow',)),
    ('network_g', 'edvr_path', 'weights', ('keyframes',)),
    ('train', 'fix_flow', 'freeze', ('flow', 'keyframes')),
    ('train', 'fix_iter', 'freeze', ('flow', 'keyframes')),  # its older name
    ('train', 'flow_lr_mul', 'lr_mul', ('flow', 'keyframes')),
    ('train', 'lr_flow', 'lr_mul', ('flow',)),
)
# of BasicSR and the release, without a place here: section -> keys
NO_EFFECT = {
    (): {'gpu_ids', 'set_CUDA_VISIBLE_DEVICES', 'find_unused_parameters'},
    ('datasets',): {'dataroot_mask', 'dataroot_flow', 'num_prefetch_queue', 'persistent_workers', 'test_mode'},
    ('train',): {'senmap_iter'},
    ('val',): {'pbar'},
    ('val', 'metrics'): {'input_order'},
}


def accept_habits(file: OptionFile) -> list[str]:
    """Rewrites `file.data` into the words of the schema. Returns notices, a line each."""
    for name in ('path', 'logger', 'dist_params'):
        if file.data.get(name) is None:
            file.data[name] = {}
    datasets = file.data.get('datasets')
    if isinstance(datasets, dict):
        # `val: ~` over a base file
        file.data['datasets'] = {name: data for name, data in datasets.items() if data is not None}
    notices = []
    for key, section in walk(file.data):
        if key and key[0] in OLDER_NAMES:
            _rename(file, key, section, OLDER_NAMES[key[0]])
        if len(key) == 2 and key[0] == 'datasets':
            notices += _shipped_lists(section)
    _move(file, ('network_g', 'bin_model'), ('path', 'bin_model'), conflict='path.bin_model names another file')
    _move_parts(file)
    _make_relativistic(file)
    idle = set()
    for start, names in NO_EFFECT.items():
        for key, section in walk(file.data):
            if key == start or (start and key[: len(start)] == start and len(key) == len(start) + 1):
                for name in (names if key[-1:] != ('train',) else names - {'test_mode'}) & section.keys():
                    if section.pop(name) is not None or start != ('datasets',):
                        idle.add(name)
    if idle:
        notices.append(f'keys that have no effect here: {", ".join(sorted(idle))}')
    wandb = file.data['logger'].pop('wandb', None) if isinstance(file.data['logger'], dict) else None
    if isinstance(wandb, dict) and wandb.get('project'):
        notices.append('wandb is not supported yet, TensorBoard and metrics.jsonl are written')
    return list(dict.fromkeys(notices))


def _rename(file: OptionFile, key: tuple, section: dict[str, Any], names: dict[str, str]) -> None:
    for old in names.keys() & section.keys():
        new, place = names[old], file.place((*key, old))
        if new in section and section[new] != section[old]:
            file.problems.append(f'{place}: {dotted((*key, old))}: is the older name of {new}, which differs')
        section[new] = section.pop(old)
        file.places[*key, new] = place


def _move(file: OptionFile, old: Key, *targets: Key, conflict: str = '') -> None:
    """Moves a value to where it belongs here, unless something stands there: a problem where `conflict` says so. What
    belongs to training is dropped where nothing is trained.
    """
    section: Any = file.data
    for part in old[:-1]:
        section = section.get(part) if isinstance(section, dict) else None
    if not isinstance(section, dict) or old[-1] not in section:
        return
    place, value = file.place(old), section.pop(old[-1])
    for new in targets if value is not None else ():
        if not isinstance(file.data.get(str(new[0])), dict):
            continue
        target: dict[Any, Any] = section_at(file.data, new[:-1])
        if target.get(new[-1]) is None:
            target[new[-1]], file.places[new] = value, place
        elif conflict and target[new[-1]] != value:
            file.problems.append(f'{place}: {dotted(old)}: {conflict}')


def _move_parts(file: OptionFile) -> None:
    """What BasicSR and mmagic say of parts, and of averaging, is a matter of training wherever they have it."""
    train, network = file.data.get('train'), file.data.get('network_g')
    # the older `train.lr_flow` is the learning rate of flow itself, not a factor
    if isinstance(train, dict) and 'lr_flow' in train:
        rate = train['optim_g'].get('lr') if isinstance(train.get('optim_g'), dict) else None
        known = all(isinstance(value, int | float) for value in (rate, train['lr_flow'])) and rate
        train['lr_flow'] = train['lr_flow'] / rate if known else None
    keyframes = isinstance(network, dict) and 'edvr_path' in network
    for place, old, new, parts in OF_PARTS:
        targets = [('train', 'parts', part, new) for part in parts if part == 'flow' or keyframes]
        _move(file, (place, old), *targets)
    if isinstance(train, dict):
        found = [key for key, section in walk(file.data) if 'ema_decay' in section and key[:1] != ('datasets',)]
        for key in [key for key in found if key != ('train',)]:
            _move(file, (*key, 'ema_decay'), ('train', 'ema_decay'), conflict='train.ema_decay is another')


def _make_relativistic(file: OptionFile) -> None:
    """BasicSR's ESRGANModel compares logits with the mean of the others, whatever kind of GANLoss it is given."""
    train = file.data.get('train')
    loss = train.get('gan_opt') if isinstance(train, dict) else None
    if file.data.get('model_type') == 'ESRGANModel' and isinstance(loss, dict) and loss.get('type') == 'GANLoss':
        loss['type'] = 'RelativisticGANLoss'


def _shipped_lists(data: dict[str, Any]) -> list[str]:
    """Clip lists that are not where an option file points, but come with this package."""
    notices = []
    for name in LISTS:
        value = data.get(name)
        if isinstance(value, str) and not Path(value).is_file() and (SHIPPED_LISTS / Path(value).name).is_file():
            data[name] = str(SHIPPED_LISTS / Path(value).name)
            notices.append(f'{value}: the list that comes with this package is used')
    return notices
