"""Option files of the release and of BasicSR say some things in other words: they are taken as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from votes.options.yaml_file import OptionFile, dotted, walk

SHIPPED_LISTS = Path(__file__).resolve().parents[1] / 'data' / 'meta_info'
LISTS = ('meta_info_file', 'meta_val_file', 'meta_test_file')
OLDER_NAMES = {
    'path': {'pretrain_model_g': 'pretrain_network_g', 'strict_load': 'strict_load_g'},
    'datasets': {'use_hflip': 'use_flip'},
}
# keys of BasicSR and mmagic for parts of networks: section, key, its name here, parts
OF_PARTS = (
    ('network_g', 'spynet_path', 'weights', ('flow',)),
    ('network_g', 'spynet_pretrained', 'weights', ('flow',)),
    ('network_g', 'edvr_path', 'weights', ('keyframes',)),
    ('train', 'fix_flow', 'freeze', ('flow', 'keyframes')),
    ('train', 'fix_iter', 'freeze', ('flow', 'keyframes')),  # its older name
    ('train', 'flow_lr_mul', 'lr_mul', ('flow', 'keyframes')),
)
NO_EFFECT = {
    'senmap_iter',
    'dataroot_mask',
    'dataroot_flow',
    'num_prefetch_queue',
    'persistent_workers',
    'find_unused_parameters',
    'pbar',
}
# of BasicSR, without a place here: section -> keys
DROPPED = {
    (): {'gpu_ids', 'set_CUDA_VISIBLE_DEVICES'},
    ('val', 'metrics'): {'input_order'},
    ('datasets',): {'test_mode'},
}


def accept_habits(file: OptionFile) -> list[str]:
    """Rewrites `file.data` into the words of the schema. Returns notices, a line each."""
    for name in ('path', 'logger', 'dist_params'):
        if file.data.get(name) is None:
            file.data[name] = {}
    datasets = file.data.get('datasets')
    if isinstance(datasets, dict):
        for name in [name for name, data in datasets.items() if data is None]:
            del datasets[name]  # `val: ~` over a base file
    notices = []
    for key, section in walk(file.data):
        if key and key[0] in OLDER_NAMES:
            _rename(file, key, section, OLDER_NAMES[key[0]])
        if len(key) == 2 and key[0] == 'datasets':
            notices += _shipped_lists(section)
    _move_bin_model(file)
    _move_parts(file)
    _move_averaging(file)
    _move_flow_rate(file)
    _make_relativistic(file)
    idle = {
        name
        for key, section in walk(file.data)
        for name, value in section.items()
        if name in NO_EFFECT and (value is not None or name == 'senmap_iter')
    }
    for place, names in DROPPED.items():
        for key, section in walk(file.data):
            if key == place or (place and key[: len(place)] == place and len(key) == len(place) + 1):
                for name in names & section.keys():
                    if name == 'test_mode' and key[-1] == 'train':
                        continue
                    del section[name]
                    idle.add(name)
    if idle:
        notices.append(f'keys that have no effect here: {", ".join(sorted(idle))}')
    wandb = file.data['logger'].get('wandb') if isinstance(file.data['logger'], dict) else None
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


def _move_bin_model(file: OptionFile) -> None:
    """The release names the DSM's weights among the arguments of the network."""
    path, network = file.data['path'], file.data.get('network_g')
    if not isinstance(path, dict) or not isinstance(network, dict) or 'bin_model' not in network:
        return
    place = file.place(('network_g', 'bin_model'))
    value = network.pop('bin_model')
    if value is None:
        return
    if path.get('bin_model') not in (None, value):
        file.problems.append(f'{place}: network_g.bin_model: path.bin_model names another file')
    path['bin_model'] = value
    file.places['path', 'bin_model'] = place


def _move_parts(file: OptionFile) -> None:
    """BasicSR and mmagic have keys of their own for trained networks inside a network: where their weights are, how
    long they rest, and how slowly they learn afterwards (IconVSR's key frames as its flow). Where nothing is trained,
    their weights are those of the whole network.
    """
    train, network = file.data.get('train'), file.data.get('network_g')
    keyframes = isinstance(network, dict) and 'edvr_path' in network
    for key, old, new, parts in OF_PARTS:
        section = file.data.get(key)
        if not isinstance(section, dict) or old not in section:
            continue
        place, value = file.place((key, old)), section.pop(old)
        if value is None or not isinstance(train, dict):
            continue
        if not isinstance(train.get('parts'), dict):
            train['parts'] = {}
        for part in parts:
            if part == 'flow' or keyframes:
                train['parts'].setdefault(part, {}).setdefault(new, value)
                file.places['train', 'parts', part, new] = place


def _move_averaging(file: OptionFile) -> None:
    """`ema_decay` wherever an option file of BasicSR has it: it is one of training."""
    train = file.data.get('train')
    if not isinstance(train, dict):
        return
    for key, section in list(walk(file.data)):
        if key == ('train',) or 'ema_decay' not in section or key[:1] == ('datasets',):
            continue
        place, value = file.place((*key, 'ema_decay')), section.pop('ema_decay')
        if value is not None and train.setdefault('ema_decay', value) != value:
            file.problems.append(f'{place}: {dotted((*key, "ema_decay"))}: train.ema_decay is another')
        file.places.setdefault(('train', 'ema_decay'), place)


def _make_relativistic(file: OptionFile) -> None:
    """BasicSR's ESRGANModel compares logits with the mean of the others, whatever kind of GANLoss it is given."""
    train = file.data.get('train')
    loss = train.get('gan_opt') if isinstance(train, dict) else None
    if file.data.get('model_type') == 'ESRGANModel' and isinstance(loss, dict) and loss.get('type') == 'GANLoss':
        loss['type'] = 'RelativisticGANLoss'


def _move_flow_rate(file: OptionFile) -> None:
    """The older `train.lr_flow` is the learning rate of flow itself, not a factor."""
    train = file.data.get('train')
    if not isinstance(train, dict) or 'lr_flow' not in train:
        return
    place, value = file.place(('train', 'lr_flow')), train.pop('lr_flow')
    rate = train.get('optim_g', {}).get('lr') if isinstance(train.get('optim_g'), dict) else None
    if value is None or not isinstance(value, int | float) or not isinstance(rate, int | float) or not rate:
        return
    if not isinstance(train.get('parts'), dict):
        train['parts'] = {}
    train['parts'].setdefault('flow', {}).setdefault('lr_mul', value / rate)
    file.places['train', 'parts', 'flow', 'lr_mul'] = place


def _shipped_lists(data: dict[str, Any]) -> list[str]:
    """Clip lists that are not where an option file points, but come with this package."""
    notices = []
    for name in LISTS:
        value = data.get(name)
        if isinstance(value, str) and not Path(value).is_file() and (SHIPPED_LISTS / Path(value).name).is_file():
            data[name] = str(SHIPPED_LISTS / Path(value).name)
            notices.append(f'{value}: the list that comes with this package is used')
    return notices
