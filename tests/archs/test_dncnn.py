import pytest
import torch

from votes.archs import build_network, infer_options
from votes.archs.arcnn_arch import ARCNN


@pytest.mark.parametrize(
    ('options', 'kind'),
    [
        (dict(type='DnCNN', num_blocks=8, if_bn=True), 'DnCNN'),
        (dict(type='DnCNN', num_blocks=7), 'DnCNN'),
        (dict(type='DnCNN', num_blocks=8), 'DCAD'),  # the same layers
    ],
)
def test_what_has_the_same_names_is_told_apart(options, kind):
    net = build_network({'mid_channels': 4, **options})
    told = infer_options(net.state_dict())
    assert told['type'] == kind
    build_network(told).load_state_dict(net.state_dict())


def test_variables_of_tensorflow():
    net = ARCNN(mid_channels=[4, 3, 2], input_skip=False)
    names = dict(zip(('0', '2', '4', '6'), ('conv2d', 'conv2d_1', 'conv2d_2', 'conv2d_3'), strict=True))
    variables = {'global_step': torch.zeros(())}
    for key, value in net.state_dict().items():
        _, number, last = key.split('.')
        kernel = last == 'weight'
        variables[f'{names[number]}/{"kernel" if kernel else last}'] = value.permute(2, 3, 1, 0) if kernel else value
    told = infer_options(variables)
    assert (told['type'], told['input_skip'], list(told['mid_channels'])) == ('ARCNN', False, [4, 3, 2])
    again = build_network(told)
    again.load_state_dict(again.published_weights(variables))
    assert torch.equal(again(torch.ones(1, 3, 9, 9)), net(torch.ones(1, 3, 9, 9)))
