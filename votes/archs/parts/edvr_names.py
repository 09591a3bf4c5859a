"""The names of EDVR's authors, which networks made of its parts keep in their files."""

from __future__ import annotations


def edvr_names(prefix: str = '') -> dict[str, str | None]:
    """Beginnings of names in such a file -> of names here, for published.renamed. `prefix` stands before both."""
    before = prefix.replace('.', r'\.')
    names = {
        r'fea_L(\d)_conv(\d)\.': r'conv_l\1_\2.',
        r'pcd_align\.L(\d)_dcnpack\.conv_offset_mask\.': r'pcd_align.dcn_pack.l\1.conv_offset.',
        r'pcd_align\.L(\d)_dcnpack\.': r'pcd_align.dcn_pack.l\1.',
        r'pcd_align\.L(\d)_offset_conv(\d)\.': r'pcd_align.offset_conv\2.l\1.',
        r'pcd_align\.L(\d)_fea_conv\.': r'pcd_align.feat_conv.l\1.',
        r'pcd_align\.cas_dcnpack\.conv_offset_mask\.': r'pcd_align.cas_dcnpack.conv_offset.',
        r'tsa_fusion\.tAtt_1\.': r'fusion.temporal_attn2.',  # there the second is of the reference
        r'tsa_fusion\.tAtt_2\.': r'fusion.temporal_attn1.',
        r'tsa_fusion\.fea_fusion\.': r'fusion.feat_fusion.',
        r'tsa_fusion\.sAtt_L(\d)\.': r'fusion.spatial_attn_l\1.',
        r'tsa_fusion\.sAtt_add_(\d)\.': r'fusion.spatial_attn_add\1.',
        r'tsa_fusion\.sAtt_(\d)\.': r'fusion.spatial_attn\1.',
        r'recon_trunk\.': r'reconstruction.',
    }
    return {before + old: prefix + new for old, new in names.items()}
