"""What runs exported files: clips of any length in pieces, and files that are none."""

import json

import pytest
import torch

from votes.archs.contract import apply, promise
from votes.errors import UserError

onnx = pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')
pytest.importorskip('onnxscript')


def write(path, graph='whole', **about):
    """An ONNX file that gives back what it is given."""
    tensors = [onnx.helper.make_tensor_value_info(n, 1, [1, 't', 3, 'h', 'w']) for n in ('frames', 'out')]
    node = onnx.helper.make_node('Identity', ['frames'], ['out'])
    made = onnx.helper.make_graph([node], 'same', tensors[:1], tensors[1:])
    model = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid('', 20)], ir_version=10)
    if about:
        told = {'scale': 1, 'multiple': 1, 'smallest': 1, 'channels': 'rgb', 'inputs': [], 'graph': graph, **about}
        onnx.helper.set_model_props(model, {'votes': json.dumps(told)})
    onnx.save(model, str(path))


@pytest.mark.parametrize('context', [0, 1, 8])
def test_clips_of_any_length_go_through_a_graph_of_four_frames(context, tmp_path):
    from votes.export.runtime import OnnxNetwork

    write(tmp_path / 'a.onnx', frames=4, sees={'kind': 'Clip', 'least': 1, 'context': context, 'frames': 4})
    net = OnnxNetwork(tmp_path / 'a.onnx')
    assert promise(net).frames(5) == 5
    for count in (1, 2, 4, 5, 11):
        clip = torch.rand(2, count, 3, 8, 10)
        assert torch.equal(apply(net, {'lq': clip})['out'], clip), 'each frame once, at its place'


def test_files_that_cannot_be_run(tmp_path):
    from votes.export.runtime import OnnxNetwork

    write(tmp_path / 'foreign.onnx')
    (tmp_path / 'damaged.onnx').write_bytes(b'not a graph')
    causal = {'kind': 'Causal', 'look_ahead': 0, 'least': 1}
    write(tmp_path / 'half.onnx', graph='step', frames=1, sees=causal)
    for name, text in (
        ('none', 'not found'),
        ('foreign', 'none of `votes export`'),
        ('damaged', 'cannot be read'),
        ('half', 'first frame is missing'),
    ):
        with pytest.raises(UserError, match=text):
            OnnxNetwork(tmp_path / f'{name}.onnx')
