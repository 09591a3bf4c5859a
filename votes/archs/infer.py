"""What a state_dict's keys and shapes tell of the network that it belongs to."""

from __future__ import annotations

import re
from typing import Any

from torch import Tensor

from votes.errors import UserError


def _count(weights: dict[str, Tensor], pattern: str) -> int:
    """One more than the largest number that `pattern` captures in a key, 0 if none does."""
    found = [int(m.group(1)) for key in weights if (m := re.match(pattern, key))]
    return max(found) + 1 if found else 0


def _dsm(weights: dict[str, Tensor], prefix: str) -> dict[str, int]:
    rdn = prefix + r'model\.model1_1\.'
    name = rdn.replace('\\', '')
    return {
        'num_feat': weights[name + 'SFENet1.weight'].shape[0],
        'num_block': _count(weights, rdn + r'RDBs\.(\d+)\.'),
        'num_layer': _count(weights, rdn + r'RDBs\.0\.convs\.(\d+)\.'),
        'num_grow_ch': weights[name + 'RDBs.0.convs.0.conv.0.weight'].shape[0],
    }


def _scale(weights: dict[str, Tensor]) -> int:
    if 'upconv2.weight' in weights:
        return 4
    return 3 if weights['upconv1.weight'].shape[0] == 576 else 2


def infer_options(weights: dict[str, Tensor], where: object = None) -> dict[str, Any]:
    """Constructor options of the BIN, VOTES or EDVR that `weights` belong to, e.g. of a checkpoint of the release.

    Raises:
        UserError: the keys are those of another network.
    """
    try:
        if 'model.model1_1.SFENet1.weight' in weights:
            return {'type': 'BIN', **_dsm(weights, '')}
        num_feat = weights['conv_first.weight'].shape[0]
        taps = weights['pcd_align.dcn_pack.l1.weight'].shape[2:].numel()
        options = {
            'num_in_ch': weights['conv_first.weight'].shape[1],
            'num_out_ch': weights['conv_last.weight'].shape[0],
            'num_feat': num_feat,
            'deformable_groups': weights['pcd_align.dcn_pack.l1.conv_offset.weight'].shape[0] // (3 * taps),
            'num_extract_block': _count(weights, r'feature_extraction\.(\d+)\.'),
            'num_reconstruct_block': _count(weights, r'reconstruction\.(\d+)\.'),
        }
        if 'fusion.mask_modulation_first.weight' in weights:
            return {
                'type': 'VOTES',
                **options,
                'num_frame': weights['fusion.feat_fusion.weight'].shape[1] // num_feat,
                'num_modulation_blocks': _count(weights, r'fusion\.feat_cas_l\.(\d+)\.'),
                'sr_factor': _scale(weights),
                **{f'dsm_{k}': v for k, v in _dsm(weights, r'bin\.').items()},
            }
        with_tsa = 'fusion.temporal_attn1.weight' in weights
        fusion = weights['fusion.feat_fusion.weight' if with_tsa else 'fusion.weight']
        return {
            'type': 'EDVR',
            **options,
            'num_frame': fusion.shape[1] // num_feat,
            'with_tsa': with_tsa,
            'scale': _scale(weights),
        }
    except KeyError as error:
        raise UserError(
            'cannot tell which network this checkpoint belongs to',
            where=where,
            value=f'no key {error}',
            fix='name it: -opt OPTION_FILE',
        ) from error
