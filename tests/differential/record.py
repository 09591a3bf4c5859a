"""Writes recorded.json, see README.md: the rules of BasicSR's public classes, written down plainly, in float64."""

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

PATH = Path(__file__).with_name('recorded.json')
BASE = 2e-4
SCHEDULES = {
    'cosine': {'type': 'CosineAnnealingRestartLR', 'periods': [12, 20], 'restart_weights': [1, 0.5], 'eta_min': 1e-7},
    'one cosine': {'type': 'CosineAnnealingRestartLR', 'periods': [30], 'restart_weights': [1], 'eta_min': 0},
    'steps': {'type': 'MultiStepLR', 'milestones': [8, 16, 24], 'gamma': 0.5},
    'restarts': {
        'type': 'MultiStepRestartLR',
        'milestones': [6, 12, 22],
        'gamma': 0.1,
        'restarts': [0, 18],
        'restart_weights': [1, 0.8],
    },
}
WARM_UPS = (-1, 5)
UPDATES = 30


def rates(schedule, warmup):
    """The rate of each update, from 1 on, as a scheduler with a state gives it."""
    rate, found = BASE, []
    for iteration in range(1, UPDATES + 1):
        if iteration > 1:
            rate = next_rate(schedule, rate, iteration - 1)
        elif 'restarts' in schedule:
            rate = BASE * schedule['restart_weights'][schedule['restarts'].index(0)]
        if iteration < warmup:
            rate = BASE / warmup * iteration
        found.append(rate)
    return found


def next_rate(schedule, rate, epoch):
    if schedule['type'].startswith('Cosine'):
        ends = np.cumsum(schedule['periods'])
        place = next(i for i, end in enumerate(ends) if epoch <= end)
        begun = 0 if place == 0 else ends[place - 1]
        wave = 1 + math.cos(math.pi * (epoch - begun) / schedule['periods'][place])
        low = schedule['eta_min']
        return float(low + schedule['restart_weights'][place] * 0.5 * (BASE - low) * wave)
    if epoch in schedule.get('restarts', [0]):
        place = schedule.get('restarts', [0]).index(epoch)
        return BASE * schedule.get('restart_weights', [1])[place]
    return rate * schedule['gamma'] ** Counter(schedule['milestones'])[epoch]


def windows(count, interval, recurrent, length=100):
    """Probability of each start of a window, where a key is any frame of a clip."""
    found = np.zeros(length)
    if recurrent:
        last = length - count * interval
        for key in range(length):
            if key > last:
                found[: last + 1] += 1 / length / (last + 1)
            else:
                found[key] += 1 / length
        return found.tolist()
    half = count // 2 * interval
    inside = [c for c in range(length) if c - half >= 0 and c + half <= length - 1]
    for key in range(length):
        if key in inside:
            found[key - half] += 1 / length
        else:  # drawn until it is inside: evenly among those
            for centre in inside:
                found[centre - half] += 1 / length / len(inside)
    return found.tolist()


def pictures():
    """Two 8-bit pictures (40, 48, 3) from integers alone."""
    rows, columns, channels = np.mgrid[:40, :48, :3]
    first = (rows * 5 + columns * 3 + channels * 40 + (rows * columns) % 17 * 4) % 256
    second = np.clip(first + (rows * 7 + columns * 11 + channels * 3) % 23 - 11, 0, 255)
    return first.astype(np.uint8), second.astype(np.uint8)


def luma(picture):
    return (picture.astype(np.float64) @ [65.481, 128.553, 24.966]) / 255 + 16


def psnr(first, second):
    return float(10 * math.log10(255**2 / np.mean((first.astype(np.float64) - second) ** 2)))


def ssim(first, second):
    """Mean over places and channels, an 11x11 Gaussian window of 1.5 pixels, inside of the picture."""
    axis = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    window = np.outer(axis, axis) / axis.sum() ** 2

    def blurred(x):
        views = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), (11, 11))
        return np.einsum('hwij,ij->hw', views, window)

    if first.ndim == 3:
        return float(np.mean([ssim(first[..., c], second[..., c]) for c in range(3)]))
    first, second = first.astype(np.float64), second.astype(np.float64)
    mean1, mean2 = blurred(first), blurred(second)
    var1, var2 = blurred(first**2) - mean1**2, blurred(second**2) - mean2**2
    both = blurred(first * second) - mean1 * mean2
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    value = (2 * mean1 * mean2 + c1) * (2 * both + c2) / ((mean1**2 + mean2**2 + c1) * (var1 + var2 + c2))
    return float(value.mean())


def metrics():
    first, second = pictures()
    found = {}
    for border in (0, 2, 4):
        cut = slice(border, -border or None)
        for channel in ('rgb', 'y'):
            pair = [p[cut, cut] if channel == 'rgb' else luma(p)[cut, cut] for p in (first, second)]
            found[f'{channel} {border}'] = {'psnr': psnr(*pair), 'ssim': ssim(*pair)}
    return found


# ten steps of an EDSR with 4 channels and one block, x2

MEAN = (0.4488, 0.4371, 0.4040)
TRAINING = {'lr': 1e-3, 'betas': (0.9, 0.99), 'weight_decay': 0.01, 'warmup': 3, 'ema': 0.9, 'steps': 10}
SCHEDULE = {'periods': [10], 'restart_weights': [1], 'eta_min': 1e-7}
SHAPES = {
    'conv_first': (4, 3),
    'body.0.conv1': (4, 4),
    'body.0.conv2': (4, 4),
    'conv_after_body': (4, 4),
    'upsample.0': (16, 4),
    'conv_last': (3, 4),
}


def initial():
    """Weights from a formula."""
    found = {}
    for number, (name, (out, into)) in enumerate(SHAPES.items()):
        index = torch.arange(out * into * 9, dtype=torch.float64)
        found[f'{name}.weight'] = (0.12 * torch.sin(1.3 * index + number)).view(out, into, 3, 3)
        found[f'{name}.bias'] = 0.01 * torch.cos(torch.arange(out, dtype=torch.float64) + number)
    return found


def batch(step):
    rows = torch.arange(8, dtype=torch.float64)
    lq = torch.stack(
        [0.5 + 0.4 * torch.sin(rows[:, None] / (2 + c) + rows / (3 + n) + step) for n in range(2) for c in range(3)]
    )
    fine = torch.arange(16, dtype=torch.float64) / 2
    gt = torch.stack(
        [0.5 + 0.45 * torch.sin(fine[:, None] / (2 + c) + fine / (3 + n) + step) for n in range(2) for c in range(3)]
    )
    return lq.view(2, 3, 8, 8), gt.view(2, 3, 16, 16)


def edsr(w, x):
    def conv(name, value):
        return F.conv2d(value, w[f'{name}.weight'], w[f'{name}.bias'], padding=1)

    mean = torch.tensor(MEAN, dtype=torch.float64).view(1, 3, 1, 1)
    shallow = conv('conv_first', (x - mean) * 255)
    deep = shallow + conv('body.0.conv2', F.relu(conv('body.0.conv1', shallow)))
    deep = conv('conv_after_body', deep) + shallow
    return conv('conv_last', F.pixel_shuffle(conv('upsample.0', deep), 2)) / 255 + mean


def ten_steps():
    weights = initial()
    average = {name: value.clone() for name, value in weights.items()}
    first, second = ({name: torch.zeros_like(value) for name, value in weights.items()} for _ in range(2))
    losses, (beta1, beta2) = [], TRAINING['betas']
    for step in range(1, TRAINING['steps'] + 1):
        wave = (1 + math.cos(math.pi * (step - 1) / SCHEDULE['periods'][0])) / 2
        rate = SCHEDULE['eta_min'] + (TRAINING['lr'] - SCHEDULE['eta_min']) * wave
        if step < TRAINING['warmup']:
            rate = TRAINING['lr'] * step / TRAINING['warmup']
        lq, gt = batch(step)
        leaves = {name: value.clone().requires_grad_() for name, value in weights.items()}
        loss = torch.sqrt((edsr(leaves, lq) - gt) ** 2 + 1e-12).sum()
        loss.backward()
        losses.append(float(loss.detach()))
        for name, leaf in leaves.items():
            gradient = leaf.grad + TRAINING['weight_decay'] * weights[name]
            first[name] = beta1 * first[name] + (1 - beta1) * gradient
            second[name] = beta2 * second[name] + (1 - beta2) * gradient**2
            unbiased = first[name] / (1 - beta1**step), second[name] / (1 - beta2**step)
            weights[name] = weights[name] - rate * unbiased[0] / (unbiased[1].sqrt() + 1e-8)
            average[name] = TRAINING['ema'] * average[name] + (1 - TRAINING['ema']) * weights[name]
    return {'losses': losses, 'params': told(weights), 'params_ema': told(average)}


def told(weights):
    """Of each tensor: its sum, its sum of magnitudes, its first and last value."""
    plain = {name: w.detach().double().flatten() for name, w in weights.items()}
    return {name: [float(w.sum()), float(w.abs().sum()), float(w[0]), float(w[-1])] for name, w in plain.items()}


def record():
    return {
        'rates': {
            f'{name}, warm-up {warmup}': rates(schedule, warmup)
            for name, schedule in SCHEDULES.items()
            for warmup in WARM_UPS
        },
        'windows': {
            f'{"REDSRecurrentDataset" if recurrent else "REDSDataset"} {count} {interval}': windows(
                count, interval, recurrent
            )
            for count, interval, recurrent in ((5, 1, False), (5, 2, False), (15, 1, True))
        },
        'crops': [1 / 25] * 25,  # of 40 rows, 16 are cut
        'turns': [1 / 8] * 8,
        'metrics': metrics(),
        'ten_steps': ten_steps(),
    }


if __name__ == '__main__':
    PATH.write_text(json.dumps(record(), indent=1) + '\n')
