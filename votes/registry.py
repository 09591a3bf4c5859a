"""Names in a YAML file -> classes and functions, imported only when they are asked for.

A class of your own needs no registration: ``type: my_package.my_module:MyNetwork`` works wherever a name does.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from pathlib import Path
from typing import Any

from votes.errors import UserError

_DEF = ast.FunctionDef


class Registry:
    """One kind of thing that option files name.

    Args:
        kind: what an entry is, for messages ('network').
        table: name -> 'module:attribute'.
    """

    def __init__(self, kind: str, table: dict[str, str]):
        self.kind = kind
        self.table = table

    def names(self) -> list[str]:
        return sorted(self.table)

    def describe(self, name: str) -> str:
        """What an entry is, in a line: the beginning of its docstring, which is read and not imported."""
        module, attribute = self.table[name].split(':', 1)
        path = Path(__file__).parents[1].joinpath(*module.split('.')).with_suffix('.py')
        if not path.is_file():
            return ''
        tree = ast.parse(path.read_text())
        own = [node for node in tree.body if getattr(node, 'name', None) == attribute]
        texts = [ast.get_docstring(node) for node in (tree, *own) if isinstance(node, ast.Module | ast.ClassDef | _DEF)]
        of_module, *of_entry = [text for text in texts if text] or ['']
        # a network's file begins with its name and paper; elsewhere a file holds several things
        text = of_module if of_module.startswith(f'{name}:') or not of_entry else of_entry[0]
        return text.split('\n\n')[0].replace('\n', ' ').removeprefix(f'{name}: ')[:110]

    def get(self, name: str) -> Any:
        """The class or function called `name`; raises UserError with the nearest names if there is none."""
        target = self.table.get(name, name)
        if ':' not in target:
            near = difflib.get_close_matches(name, self.table, n=3, cutoff=0.4) or self.names()
            raise UserError(
                f'unknown {self.kind} {name!r}', fix=f'known: {", ".join(near)}, or module:Class of your own'
            )
        module, attribute = target.split(':', 1)
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ModuleNotFoundError, AttributeError) as error:
            if name in self.table or (
                isinstance(error, ModuleNotFoundError) and not module.startswith(error.name or '?')
            ):
                raise
            raise UserError(
                f'{self.kind} {name!r} cannot be imported',
                value=error,
                fix='is the module on PYTHONPATH, and the name spelt as in it?',
            ) from error


def registries() -> list[Registry]:
    """One for each kind of thing that has names."""
    return [kind for kind in globals().values() if isinstance(kind, Registry)]


NETWORKS = Registry(
    'network',
    {
        # a network each, and what networks and losses are made of
        'ARCNN': 'votes.archs.arcnn_arch:ARCNN',
        'BIN': 'votes.archs.bin_arch:BIN',
        'CBDNet': 'votes.archs.cbdnet_arch:CBDNet',
        'DCAD': 'votes.archs.dcad_arch:DCAD',
        'DnCNN': 'votes.archs.dncnn_arch:DnCNN',
        'DnCNNBaseline': 'votes.archs.dncnn_arch:DnCNNBaseline',
        'BasicVSRPlusPlus': 'votes.archs.basicvsrpp_arch:BasicVSRPlusPlus',
        'CAVSR': 'votes.archs.cavsr_arch:CAVSR',
        'CAVSREncoder': 'votes.archs.cavsr_arch:CAVSREncoder',
        'CAVSRRanker': 'votes.archs.cavsr_ranker_arch:CAVSRRanker',
        'DISVSR': 'votes.archs.disvsr_arch:DISVSR',
        'DUF': 'votes.archs.duf_arch:DUF',
        'EDSR': 'votes.archs.edsr_arch:EDSR',
        'CDAVSR': 'votes.archs.cdavsr_arch:CDAVSR',
        'BasicVSR': 'votes.archs.basicvsr_arch:BasicVSR',
        'BRNet': 'votes.archs.brnet_arch:BRNet',
        'COMISR': 'votes.archs.comisr_arch:COMISR',
        'CVQENet': 'votes.archs.cvqenet_arch:CVQENet',
        'DUVE': 'votes.archs.duve_arch:DUVE',
        'EDVR': 'votes.archs.edvr_arch:EDVR',
        'FRVSR': 'votes.archs.frvsr_arch:FRVSR',
        'EMGA': 'votes.archs.emga_arch:EMGA',
        'NLSN': 'votes.archs.nlsn_arch:NLSN',
        'PEN': 'votes.archs.pen_arch:PEN',
        'PIM': 'votes.archs.pim_arch:PIM',
        'RCAN': 'votes.archs.rcan_arch:RCAN',
        'RCAN_A': 'votes.archs.rcan_a_arch:RCAN_A',
        'BlockDCT': 'votes.archs.parts.dct:BlockDCT',
        'EDVRResUNet': 'votes.archs.edvr_resunet_arch:EDVRResUNet',
        'FTTALayer': 'votes.archs.ftvsr_arch:FTTALayer',
        'FTVSR': 'votes.archs.ftvsr_arch:FTVSR',
        'IconVSR': 'votes.archs.iconvsr_arch:IconVSR',
        'MFQE': 'votes.archs.mfqe_arch:MFQE',
        'OVQE': 'votes.archs.ovqe_arch:OVQE',
        'MFQEv2': 'votes.archs.mfqev2_arch:MFQEv2',
        'MFQEv2Original': 'votes.archs.mfqev2_original_arch:MFQEv2Original',
        'RCVN_B': 'votes.archs.rcvn_b_arch:RCVN_B',
        'RealViformer': 'votes.archs.realviformer_arch:RealViformer',
        'RFDA': 'votes.archs.rfda_arch:RFDA',
        'RRDBNet': 'votes.archs.rrdbnet_arch:RRDBNet',
        'RSDN': 'votes.archs.rsdn_arch:RSDN',
        'Pipeline': 'votes.archs.pipeline_arch:Pipeline',
        'QECNN': 'votes.archs.qecnn_arch:QECNN',
        'QENet': 'votes.archs.qenet_arch:QENet',
        'RBQE': 'votes.archs.rbqe_arch:RBQE',
        'RealBasicVSR': 'votes.archs.realbasicvsr_arch:RealBasicVSR',
        'SAN': 'votes.archs.san_arch:SAN',
        'SpyNet': 'votes.archs.spynet_arch:SpyNet',
        'STDF': 'votes.archs.stdf_arch:STDF',
        'RDN': 'votes.archs.rdn_arch:RDN',
        'ShannonNet': 'votes.archs.shannon_arch:ShannonNet',
        'SMGF': 'votes.archs.smgf_arch:SMGF',
        'TMP': 'votes.archs.tmp_arch:TMP',
        'TDAN': 'votes.archs.tdan_arch:TDAN',
        'TGA': 'votes.archs.tga_arch:TGA',
        'TOFlow': 'votes.archs.toflow_arch:TOFlow',
        'TSAN': 'votes.archs.tsan_arch:TSAN',
        'UNetDiscriminatorSN': 'votes.archs.discriminator_arch:UNetDiscriminatorSN',
        'VDSR': 'votes.archs.vdsr_arch:VDSR',
        'VGGFeatureExtractor': 'votes.archs.vgg_arch:VGGFeatureExtractor',
        'VGGStyleDiscriminator': 'votes.archs.discriminator_arch:VGGStyleDiscriminator',
        'VOTES': 'votes.archs.votes_arch:VOTES',
        'WDSR_A': 'votes.archs.wdsr_arch:WDSR_A',
        'ASTF': 'votes.archs.astf_arch:ASTF',
        'Average': 'votes.archs.average_arch:Average',
        'Block2Rock': 'votes.archs.block2rock_arch:Block2Rock',
        'ByQuantiser': 'votes.archs.by_quantiser_arch:ByQuantiser',
        'EDVRIntra': 'votes.archs.edvr_intra_arch:EDVRIntra',
        'Gated': 'votes.archs.gated_arch:Gated',
        'MGBP3D': 'votes.archs.mgbp3d_arch:MGBP3D',
        'NOAHTCV': 'votes.archs.noahtcv_arch:NOAHTCV',
        'Overlap': 'votes.archs.overlap_arch:Overlap',
        'TIM': 'votes.archs.tim_arch:TIM',
        'EdgeWeightedUnsharp': 'votes.archs.edge_unsharp_arch:EdgeWeightedUnsharp',
        'WDSR_B': 'votes.archs.wdsr_arch:WDSR_B',
    },
)
LOSSES = Registry(
    'loss',
    {
        # a term of a training loss each
        'BandLoss': 'votes.losses.detail_loss:BandLoss',
        'CharbonnierLoss': 'votes.losses.pixel_loss:CharbonnierLoss',
        'FourierLoss': 'votes.losses.detail_loss:FourierLoss',
        'GANLoss': 'votes.losses.gan_loss:GANLoss',
        'GradientLoss': 'votes.losses.detail_loss:GradientLoss',
        'HuberLoss': 'votes.losses.pixel_loss:HuberLoss',
        'L1Loss': 'votes.losses.pixel_loss:L1Loss',
        'LDLLoss': 'votes.losses.artifact_loss:LDLLoss',
        'OffsetDeviationLoss': 'votes.losses.offset_loss:OffsetDeviationLoss',
        'OffsetTVLoss': 'votes.losses.offset_loss:OffsetTVLoss',
        'RelativisticGANLoss': 'votes.losses.gan_loss:RelativisticGANLoss',
        'RankingLoss': 'votes.losses.ranking_loss:RankingLoss',
        'MSELoss': 'votes.losses.pixel_loss:MSELoss',
        'WarpingLoss': 'votes.losses.temporal_loss:WarpingLoss',
        'MultiScaleGANLoss': 'votes.losses.gan_loss:MultiScaleGANLoss',
        'PSNRLoss': 'votes.losses.pixel_loss:PSNRLoss',
        'PerceptualLoss': 'votes.losses.perceptual_loss:PerceptualLoss',
        'WeightedTVLoss': 'votes.losses.pixel_loss:WeightedTVLoss',
    },
)
DEGRADATIONS = Registry(
    'degradation',
    {
        # a step of a recipe each
        'bicubic': 'votes.video.steps:bicubic',
        'blur': 'votes.video.steps:blur',
        'blur_down': 'votes.video.steps:blur_down',
        'jpeg': 'votes.video.steps:jpeg_compression',
        'noise': 'votes.video.steps:noise',
        'resize': 'votes.video.steps:resize',
        'sharpen': 'votes.video.steps:sharpen',
        'sinc': 'votes.video.steps:sinc',
        'sinc_and_jpeg': 'votes.video.steps:sinc_and_jpeg',
        'to_target': 'votes.video.steps:to_target',
    },
)
METRICS = Registry(
    'metric',
    {
        'calculate_psnr': 'votes.metrics.psnr_ssim:calculate_psnr',
        'calculate_ssim': 'votes.metrics.psnr_ssim:calculate_ssim',
        'calculate_ms_ssim': 'votes.metrics.psnr_ssim:calculate_ms_ssim',
        'calculate_uniform_ssim': 'votes.metrics.psnr_ssim:calculate_uniform_ssim',
    },
)
TARGETS = Registry(
    'target',
    {
        name: f'votes.losses.targets:{name}'
        for name in (
            'gt',
            'gt_small',
            'gt_small_area',
            'gt_sharp',
            'gt_sharp_small_area',
            'gt_structure',
            'gt_detail',
            'gt_half',
            'gt_quarter',
            'gt_eighth',
            'gt_sixteenth',
            'gt_luma',
            'once',
            'once_luma',
            'lq',
            'lq_luma',
        )
    },
)
# one task trains every network; what differs between these of BasicSR and the release is told by the network's class
# and by the losses
MODELS = Registry(
    'model_type',
    dict.fromkeys(
        (
            'RestorationModel',
            'DSMModel',
            'VOTESModel',
            'EDVRModel',
            'SRModel',
            'SRGANModel',
            'ESRGANModel',
            'VideoBaseModel',
            'VideoGANModel',
            'BasicVSRModel',
            'VideoRecurrentModel',
            'VideoRecurrentGANModel',
        ),
        'votes.models.restoration_model:RestorationModel',
    ),
)
DATASETS = Registry(
    'dataset',
    {
        'CompressionRankingDataset': 'votes.data.ranking_dataset:CompressionRankingDataset',
        'CompressionRankingTestDataset': 'votes.data.ranking_dataset:CompressionRankingTestDataset',
        'UVSSMDataset': 'votes.data.uvssm_dataset:UVSSMDataset',
        'VideoUVSSMTestDataset': 'votes.data.video_test_dataset:VideoUVSSMTestDataset',
        'Vimeo90KDataset': 'votes.data.vimeo90k_dataset:Vimeo90KDataset',
        # the names that BasicSR gives to the same two things
        'REDSDataset': 'votes.data.uvssm_dataset:UVSSMDataset',
        'REDSRecurrentDataset': 'votes.data.uvssm_dataset:UVSSMDataset',
        'Vimeo90KRecurrentDataset': 'votes.data.uvssm_dataset:UVSSMDataset',
        'VideoTestVimeo90KDataset': 'votes.data.video_test_dataset:VideoTestVimeo90KDataset',
        'VideoTestDataset': 'votes.data.video_test_dataset:VideoUVSSMTestDataset',
        'VideoRecurrentTestDataset': 'votes.data.video_test_dataset:VideoUVSSMTestDataset',
    },
)
# where frames lie: what a path is, is asked in this order
SOURCES = Registry(
    'frame store',
    {
        'versions': 'votes.data.versions_source:VersionsSource',
        'packed': 'votes.data.packed_source:PackedSource',
        'lmdb': 'votes.data.lmdb_source:LmdbSource',
        'video': 'votes.data.video_source:VideoSource',
        'yuv': 'votes.data.video_source:YuvSource',
        'luma': 'votes.data.video_source:LumaSource',
        'pictures': 'votes.data.picture_source:PictureSource',
        'disk': 'votes.data.sources:FolderSource',
    },
)
OPTIMIZERS = Registry('optimizer', {'Adam': 'torch.optim:Adam', 'AdamW': 'torch.optim:AdamW'})
SCHEDULERS = Registry(
    'scheduler',
    {
        'CosineAnnealingRestartLR': 'votes.models.lr_schedule:CosineAnnealingRestartLR',
        'HoldThenCosineLR': 'votes.models.lr_schedule:HoldThenCosineLR',
        'MultiStepLR': 'votes.models.lr_schedule:MultiStepLR',
        'MultiStepRestartLR': 'votes.models.lr_schedule:MultiStepLR',  # BasicSR's other name for it
    },
)
