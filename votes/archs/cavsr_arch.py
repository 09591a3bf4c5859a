"""CAVSR: compression-aware video super-resolution (Wang et al., CVPR 2023).

An encoder that was taught to rank pictures by their compression says how each frame was compressed, its features are
modulated by that, and frames are aligned by the motion vectors of the stream, corrected where they predict badly.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from votes.archs.contract import Clip, Sample
from votes.archs.parts.blocks import conv3x3, count_of, kaiming_small_
from votes.archs.parts.propagation import AT_ONCE, ConvResidualBlocks, in_pieces
from votes.ops.warp import flow_warp

TYPES = 'IBP'  # picture types in the order of their numbers in the public code
WAYS = ('future', 'past')  # of motion, in their order there
CODE = 128  # channels of a compression representation


def type_numbers(pict_type: Tensor) -> Tensor:
    """The letters of a sample, ord of I, P, B or ?, as the numbers 0 I, 1 B, 2 P; what is unknown counts as P."""
    return torch.where(pict_type == ord('I'), 0, torch.where(pict_type == ord('B'), 1, 2))


def _type_vectors() -> Tensor:
    """(3, 128): vectors that tell the types apart, drawn once and for all, as activations of a LeakyReLU are."""
    drawn = torch.randn(len(TYPES), CODE, generator=torch.Generator().manual_seed(2023))
    return F.leaky_relu(0.35 * drawn, 0.1)


class CAVSREncoder(nn.Module):
    """Says how a picture was compressed, and ranks pictures by that.

    Args:
        type_vectors: three of 128 numbers, of I, B and P pictures, where an encoder was trained with other ones. The
            authors' file does not hold theirs: the rows of their rep.txt belong here.
    """

    sees = None
    type_vectors: Tensor

    def __init__(self, type_vectors: Sequence[Sequence[float]] | None = None):
        super().__init__()
        layers: list[nn.Module] = []
        widths = (3, 32, 32, 64, 64, CODE, CODE)
        for index, (before, after) in enumerate(itertools.pairwise(widths)):
            stride = 2 if index in (2, 4) else 1
            layers += [conv3x3(before, after, stride), nn.BatchNorm2d(after), nn.LeakyReLU(0.1, inplace=True)]
        self.E = nn.ModuleDict({'E': nn.Sequential(*layers)})  # the authors' keys
        head: list[nn.Module] = []
        for before, after in ((CODE, 64), (64, 32), (32, 1)):
            head += [nn.LeakyReLU(0.1), nn.Linear(before, after)]
        self.R = nn.Sequential(*head)
        vectors = _type_vectors() if type_vectors is None else torch.tensor(type_vectors, dtype=torch.float32)
        if vectors.shape != (len(TYPES), CODE):
            raise ValueError(f'type_vectors are {len(TYPES)} of {CODE} numbers, not {tuple(vectors.shape)}')
        self.register_buffer('type_vectors', vectors)

    def representation(self, x: Tensor, type_vec: Tensor) -> Tensor:
        """(N, 3, h, w) in [0, 1] and (N, 128) -> (N, 128, ceil(h/4), ceil(w/4))."""
        return self.E['E'](x) + type_vec[:, :, None, None]

    def score(self, representation: Tensor) -> Tensor:
        """(N, 128, h, w) -> (N, 1): larger is worse."""
        return self.R(representation.mean((2, 3)))

    def forward(self, x: Tensor, type_vec: Tensor) -> tuple[Tensor, Tensor]:
        """Frames (N, 3, h, w) in [0, 1] and the vectors of their types (N, 128) -> the representation of each pixel
        (N, 128, h, w) and the score (N, 1), which is larger the more a frame has lost.
        """
        found = self.representation(x, type_vec)
        return F.interpolate(found, x.shape[-2:]), self.score(found)

    @classmethod
    def published_weights(cls, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return {'type_vectors': _type_vectors(), **weights}

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict, of this project or the authors' ranker.pth."""
        return {} if 'E.E.15.weight' in weights and 'R.5.weight' in weights else None


class SpatialTransform(nn.Module):
    """F * s + t with s and t made of the compression representation."""

    def __init__(self, num_feat: int):
        super().__init__()
        self.SFT_scale_conv0 = nn.Conv2d(CODE, num_feat, 1)
        self.SFT_scale_conv1 = nn.Conv2d(num_feat, num_feat, 1)
        self.SFT_shift_conv0 = nn.Conv2d(CODE, num_feat, 1)
        self.SFT_shift_conv1 = nn.Conv2d(num_feat, num_feat, 1)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        scale = self.SFT_scale_conv1(F.leaky_relu(self.SFT_scale_conv0(code), 0.01))
        shift = self.SFT_shift_conv1(F.leaky_relu(self.SFT_shift_conv0(code), 0.01))
        return x * scale + shift


class ModulatedBlock(nn.Module):
    """A residual block whose features are modulated before each convolution."""

    compiled_alone = True

    def __init__(self, num_feat: int):
        super().__init__()
        self.sft0 = SpatialTransform(num_feat)
        self.conv1 = conv3x3(num_feat, num_feat)
        self.sft1 = SpatialTransform(num_feat)
        self.conv2 = conv3x3(num_feat, num_feat)
        kaiming_small_(self.conv1, self.conv2)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        y = self.conv1(F.leaky_relu(self.sft0(x, code), 0.01))
        return x + self.conv2(F.leaky_relu(self.sft1(y, code), 0.01))


class Modulation(nn.Module):
    """Features (N, C, h, w) made aware of the compression (paper, section 3.2): F + residual. The representation is
    that of quarter size: as large as the features, of a whole clip, it would take gigabytes.
    """

    def __init__(self, num_feat: int, num_block: int):
        super().__init__()
        self.main = nn.ModuleList([nn.ModuleList([ModulatedBlock(num_feat) for _ in range(num_block)])])
        self.conv2 = conv3x3(num_feat, num_feat)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        y, code = x, F.interpolate(code, x.shape[-2:])
        for block in cast(nn.ModuleList, self.main[0]):
            y = block(y, code)
        return x + self.conv2(y)


class MotionAlignment(nn.Module):
    """Warps the state by a motion vector and what is missing of it, the more the worse the vector predicts the frame.

    The weights of a deformable convolution are in the authors' files; nothing uses them.
    """

    def __init__(self, num_feat: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(num_feat, num_feat, 3, 3), requires_grad=False)
        self.bias = nn.Parameter(torch.zeros(num_feat), requires_grad=False)
        self.conv_offset = conv3x3(num_feat, 16 * 27).requires_grad_(False)

        def layers(*widths: int) -> nn.Sequential:
            found: list[nn.Module] = []
            for before, after in itertools.pairwise(widths):
                found += [conv3x3(before, after), nn.LeakyReLU(0.1, inplace=True)]
            return nn.Sequential(*found[:-1])

        self.feat_conv = layers(num_feat, num_feat, num_feat, num_feat)
        self.feat_ext = layers(2 * num_feat, num_feat, num_feat, 2)

    def forward(self, state: Tensor, feature: Tensor, flow: Tensor, doubt: Tensor) -> Tensor:
        """All (B, C, h, w), flow (B, 2, h, w) in pixels, doubt (B, 1, h, w) in [0, 1]."""
        missing = self.feat_ext(torch.cat((flow_warp(state, flow), self.feat_conv(feature)), 1))
        return flow_warp(state, flow + doubt * missing)


def _output_branch(num_feat: int, scale: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for factor in {2: (2,), 3: (3,), 4: (2, 2)}[scale]:
        layers += [conv3x3(num_feat, factor**2 * num_feat), nn.PixelShuffle(factor), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, conv3x3(num_feat, num_feat), nn.ReLU(inplace=True), conv3x3(num_feat, 3))


class CAVSR(nn.Module):
    """(B, T, 3, h, w) RGB in [0, 1] -> (B, T, 3, S*h, S*w), not clamped; keys of the state_dict as in the release.

    Args:
        num_feat: channels.
        num_block: residual blocks of each direction; the paper's 25 (a class of the public code says 15).
        num_modulation_block: blocks of each modulation, 10 in the paper.
        cam_release_quirk: the public code adds the features to themselves in place of the modulation, by mistake, and
            the published weights were trained so: the encoder and the modulation have no influence then.
        scale: 2, 3 or 4 (public: 4).
        type_vectors: see CAVSREncoder.
        metadata: false: the network reads nothing of the codec: nothing moves, and all frames count as P. So it is
            measured what the codec's word is worth.
    """

    sees = Clip(least=2)
    inputs: tuple[str, ...] = ('mv_past', 'mv_future', 'past_valid', 'future_valid', 'pict_type')
    supervised = {
        'l_pix': {'weight': 0.5},
        'l_forward': {'output': 'out_forward', 'weight': 0.25},
        'l_backward': {'output': 'out_backward', 'target': 'gt_structure', 'weight': 0.25},
    }
    parts = {
        'encoder': ('encoder.',),
        'modulation': ('modulate_',),
        'alignment': ('deform_align_',),
        'propagation': ('backward_trunk.', 'forward_trunk.'),
        'reconstruction': ('fusion.', 'HR_branch'),
    }
    small = {'num_feat': 8, 'num_block': 1, 'num_modulation_block': 1, 'scale': 2}

    def __init__(
        self,
        num_feat: int = 64,
        num_block: int = 25,
        num_modulation_block: int = 10,
        cam_release_quirk: bool = False,
        scale: int = 4,
        type_vectors: Sequence[Sequence[float]] | None = None,
        metadata: bool = True,
    ):
        super().__init__()
        if scale not in (2, 3, 4):
            raise ValueError(f'scale must be 2, 3 or 4, not {scale}')
        self.inputs = self.inputs if metadata else ()
        self.scale, self.cam_release_quirk = scale, cam_release_quirk
        self.encoder = CAVSREncoder(type_vectors).requires_grad_(False)
        self.da_head_b = nn.Sequential(conv3x3(3, num_feat))
        self.da_head_f = nn.Sequential(conv3x3(3, num_feat))
        self.backward_trunk = ConvResidualBlocks(3 * num_feat, num_feat, num_block)
        self.forward_trunk = ConvResidualBlocks(4 * num_feat, num_feat, num_block)
        self.fusion = nn.Sequential(
            conv3x3(2 * num_feat, num_feat), nn.LeakyReLU(0.1, inplace=True), conv3x3(num_feat, num_feat)
        )
        self.HR_branch = _output_branch(num_feat, scale)
        self.HR_branch_b = _output_branch(num_feat, scale)
        self.HR_branch_f = _output_branch(num_feat, scale)
        self.deform_align_b = MotionAlignment(num_feat)
        self.deform_align_f = MotionAlignment(num_feat)
        self.modulate_b = Modulation(num_feat, num_modulation_block).requires_grad_(not cam_release_quirk)
        self.modulate_f = Modulation(num_feat, num_modulation_block).requires_grad_(not cam_release_quirk)
        self.trained_before = () if cam_release_quirk else ('encoder',)
        self.train()

    def train(self, mode: bool = True) -> CAVSR:
        """The encoder stays in evaluation mode: it is not trained here."""
        super().train(mode)
        self.encoder.eval()
        return self

    def arguments(self, sample: Sample) -> dict[str, Tensor]:
        """Side information in the order of the public code; vectors point from a pixel to where it was predicted from
        in both conventions. Where there is none, nothing moves.
        """
        if not self.inputs:
            return {}
        vectors = [sample[f'mv_{way}'] * sample[f'{way}_valid'].to(sample[f'mv_{way}'].dtype) for way in WAYS]
        return {'mvs': torch.cat(vectors, 1).movedim(2, -1), 'frame_type': type_numbers(sample['pict_type'])}

    def forward(
        self, x: Tensor, mvs: Tensor | None = None, frame_type: Tensor | None = None, type_vec: Tensor | None = None
    ) -> Tensor | dict[str, Tensor]:
        """
        Args:
            x: (B, T, 3, h, w) RGB in [0, 1], T at least 2.
            mvs: (B, 2T, h, w, 2), x and y in pixels: T maps of the motion to where a frame was predicted from in the
                future, then T maps of the past; none unless told.
            frame_type: (B, T) or (B, T, 1), 0 I, 1 B, 2 P; all P unless told.
            type_vec: (B, T, 128), vectors of the types; the encoder's own unless given.

        Returns:
            (B, T, 3, S*h, S*w); in training a mapping with that under 'out', and 'out_forward' and 'out_backward', what
            each direction alone makes of the frames.
        """
        batch, count = x.shape[:2]
        if mvs is None:
            mvs = x.new_zeros(batch, 2 * count, *x.shape[-2:], 2)
        if frame_type is None:
            frame_type = torch.full((batch, count), 2, device=x.device)
        kind = frame_type.reshape(batch, count).long()
        blend = torch.where(kind == 1, 0.5, 1.0)[..., None, None, None].to(x.dtype)  # of a state with the one before it
        plain_b, plain_f, code = *self._heads(x), None
        if not self.cam_release_quirk:
            vectors = self.encoder.type_vectors[kind] if type_vec is None else type_vec
            code = self._code(x, vectors)
        modulated_b, modulated_f = (
            2 * plain if code is None else in_pieces(modulate, plain.flatten(0, 1), code).view_as(plain)
            for modulate, plain in ((self.modulate_b, plain_b), (self.modulate_f, plain_f))
        )
        # the motion from a frame to its neighbour is that of the neighbour to it, the other way round
        motion = -mvs.movedim(-1, 2)
        to_next, to_previous = motion[:, count + 1 :], motion[:, : count - 1]
        backward, forward = self._propagate(x, (modulated_b, modulated_f), (to_next, to_previous), blend)
        fused = in_pieces(self.fusion, torch.cat((backward, forward), 2).flatten(0, 1))
        out = self._branch(self.HR_branch, fused.view_as(plain_f) + plain_f)
        if not self.training:
            return out
        return {
            'out': out,
            'out_forward': self._branch(self.HR_branch_f, forward + plain_f),
            'out_backward': self._branch(self.HR_branch_b, backward + plain_b),
        }

    def _heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        flat = x.flatten(0, 1)
        return tuple(head(flat).unflatten(0, x.shape[:2]) for head in (self.da_head_b, self.da_head_f))  # type: ignore[return-value]

    @torch.no_grad()
    def _code(self, x: Tensor, vectors: Tensor) -> Tensor:
        return in_pieces(self.encoder.representation, x.flatten(0, 1), vectors.flatten(0, 1).to(x.dtype))

    def _branch(self, branch: nn.Module, features: Tensor) -> Tensor:
        found = in_pieces(branch, features.flatten(0, 1), at_once=AT_ONCE // self.scale**2)
        return found.unflatten(0, features.shape[:2])

    def _propagate(
        self, x: Tensor, features: tuple[Tensor, Tensor], flows: tuple[Tensor, Tensor], blend: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What the trunks make of every frame, backwards and then forwards, (B, T, C, h, w) each.

        Args:
            flows: (B, T-1, 2, h, w), of frames 0 .. T-2 to the next one, and of frames 1 .. T-1 to the one before.
            blend: (B, T, 1, 1, 1), the share of a frame in the state that goes on.
        """
        count = x.shape[1]
        (feature_b, feature_f), (to_next, to_previous) = features, flows
        doubt_next, doubt_previous = _doubt(x[:, :-1], x[:, 1:], to_next), _doubt(x[:, 1:], x[:, :-1], to_previous)
        backward: list[Tensor] = [feature_b] * count
        state = torch.zeros_like(feature_b[:, 0])
        for t in reversed(range(count)):
            here = feature_b[:, t]
            if t < count - 1:
                state = self.deform_align_b(state, here, to_next[:, t], doubt_next[:, t])
            beside = feature_b[:, t + 1 if t < count - 1 else t - 1]
            backward[t] = self.backward_trunk(torch.cat((here, beside, state), 1))
            state = torch.lerp(state, backward[t], blend[:, t].to(state.dtype))
        forward: list[Tensor] = []
        state = backward[0]
        for t in range(count):
            here = feature_f[:, t]
            if t:
                state = self.deform_align_f(state, here, to_previous[:, t - 1], doubt_previous[:, t - 1])
            beside = feature_f[:, t - 1 if t else 1]
            forward.append(self.forward_trunk(torch.cat((here, beside, state, backward[t]), 1)))
            state = torch.lerp(state, forward[t], blend[:, t].to(state.dtype))
        return torch.stack(backward, 1), torch.stack(forward, 1)

    @classmethod
    def published_weights(cls, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The authors' files do not hold the vectors of the types."""
        return {'encoder.type_vectors': _type_vectors(), **weights}

    @classmethod
    def from_weights(cls, weights: dict[str, Tensor]) -> dict[str, Any] | None:
        """Constructor arguments told by a state_dict; the authors' files need the quirk of the public code."""
        if not {'da_head_b.0.weight', 'deform_align_b.feat_ext.4.weight', 'modulate_b.conv2.weight'} <= weights.keys():
            return None
        num_feat = weights['da_head_b.0.weight'].shape[0]
        wide = 'HR_branch.8.weight' in weights
        return {
            'num_feat': num_feat,
            'num_block': count_of(weights, 'backward_trunk.main.2.'),
            'num_modulation_block': count_of(weights, 'modulate_b.main.0.'),
            'cam_release_quirk': 'encoder.type_vectors' not in weights,
            'scale': 4 if wide else round((weights['HR_branch.0.weight'].shape[0] / num_feat) ** 0.5),
        }


def _doubt(frames: Tensor, neighbours: Tensor, flow: Tensor) -> Tensor:
    """How badly neighbours (B, N, 3, h, w), warped by a flow (B, N, 2, h, w), predict frames: (B, N, 1, h, w)."""
    warped = flow_warp(neighbours.flatten(0, 1), flow.flatten(0, 1)).view_as(frames)
    return (frames - warped).abs().sum(2, keepdim=True).sigmoid()
