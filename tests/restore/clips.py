"""Small videos of many kinds, and networks that are quick to run."""

from fractions import Fraction

import av
import numpy as np
import torch
import torch.nn.functional as F
from test_video import read

from votes.archs.contract import Window
from votes.archs.edvr_arch import EDVR
from votes.archs.votes_arch import VOTES
from votes.video.colour import Colour
from votes.video.write import yuv_frame

TRUNK = {'num_feat': 8, 'deformable_groups': 2, 'num_extract_block': 1, 'num_reconstruct_block': 1}
DSM = {'dsm_num_feat': 4, 'dsm_num_block': 1, 'dsm_num_layer': 1, 'dsm_num_grow_ch': 2}


class Enlarge(torch.nn.Module):
    """The centre frame, every pixel twice in both directions."""

    sees, scale, multiple = Window(5), 2, 4

    def forward(self, x):
        assert x.shape[-1] % 4 == x.shape[-2] % 4 == 0
        return F.interpolate(x[:, 2], scale_factor=2, mode='nearest')


class Identity(torch.nn.Module):
    sees = Window(3)

    def forward(self, x):
        return x[:, 1].clone()


def small_network(kind=VOTES, **options):
    """With weights that make all of its parts matter."""
    torch.manual_seed(0)
    net = kind(**TRUNK, **(DSM | {'num_modulation_blocks': 1} if kind is VOTES else {}), **options).eval()
    assert isinstance(net, (VOTES, EDVR))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, 0, 0.08)
    return net


def moving(count, size=(48, 64)):
    """Smooth pictures (chroma survives 4:2:0) that differ from frame to frame."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    return [
        np.stack(
            [
                128 + 100 * np.sin(columns / 21 + i / 9),
                128 + 100 * np.cos(rows / 17 + i / 7),
                128 + 90 * np.sin((rows + columns) / 25 + i / 5),
            ],
            -1,
        ).astype(np.uint8)
        for i in range(count)
    ]


def lossless(
    path, frames, colour=Colour('bt601', False), bits=8, times=None, codec='ffv1', chroma='444', unit=12800, qp=0
):
    """YUV without loss (or libx264 at a quantiser), tagged; frames are RGB uint8."""
    deep = '10le' if bits == 10 else ''
    with av.open(str(path), 'w') as container:
        stream = container.add_stream(codec, rate=25)
        context = stream.codec_context
        context.height, context.width = frames[0].shape[:2]
        context.pix_fmt = f'yuv{chroma}p{deep}'
        context.time_base = Fraction(1, unit)
        for name, value in colour.tags().items():
            setattr(context, name, value)
        if codec == 'libx264':
            stream.options = {'qp': str(qp)}
        for i, rgb in enumerate(frames):
            frame = yuv_frame(colour.to_yuv(rgb, bits), context.pix_fmt)
            frame.colorspace, frame.color_range = colour.tags()['colorspace'], colour.tags()['color_range']
            frame.pts, frame.time_base = times[i] if times else i * unit // 25, Fraction(1, unit)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def frames_of(path):
    """The content and the time of every frame."""
    reader, found = read(path)
    return [(f.rgb.tobytes(), f.pts * reader.time_base) for f in found]
