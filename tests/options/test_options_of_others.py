"""Option files of the form that people bring from the release and from BasicSR."""

import pytest
import yaml

from votes.options import load_options

RELEASE = """
# the form of the release's option files
name: VOTES_L
model_type: VOTESModel
scale: 2
num_gpu: 1
manual_seed: 10
debug: false
datasets:
  train:
    name: UVSSMWeChat
    type: UVSSMDataset
    dataroot_gt: ./datasets/UVSSM/WeChat/HQ_frames
    dataroot_lq: ./datasets/UVSSM/WeChat/LQ_frames
    meta_info_file: ./data/meta_info/meta_info_UVSSMWeChat.txt
    meta_val_file: ./data/meta_info/meta_info_UVSSMWeChat_val.txt
    meta_test_file: ./data/meta_info/meta_info_UVSSMWeChat_test2.txt
    io_backend:
      type: disk
    num_frame: 5
    center_gt: True
    gt_size: 128
    interval_list: [1]
    random_reverse: false
    use_flip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 4
    batch_size_per_gpu: 16
    dataset_enlarge_ratio: 50
    prefetch_mode: ~
  val:
    name: UVSSMWeChat
    type: VideoUVSSMTestDataset
    dataroot_gt: ./datasets/UVSSM/WeChat/HQ_frames
    dataroot_lq: ./datasets/UVSSM/WeChat/LQ_frames
    dataroot_mask: ~
    meta_info_file: ./data/meta_info/meta_info_UVSSMWeChat_val.txt
    io_backend:
      type: disk
    cache_data: false
    center_gt: True
    num_frame: 5
    padding: reflection_circle
network_g:
  type: VOTES
  num_in_ch: 3
  num_feat: 128
  num_frame: 5
  deformable_groups: 8
  num_extract_block: 5
  num_reconstruct_block: 40
  center_frame_idx: ~
  num_modulation_blocks: 10
  bin_model: ./experiments/bin_100000.pth
  sr_factor: 2
path:
  pretrain_network_g: ~
  strict_load_g: false
  resume_state: ~
train:
  optim_g:
    type: Adam
    lr: !!float 2e-4
    weight_decay: 0
    betas: [0.9, 0.99]
  scheduler:
    type: CosineAnnealingRestartLR
    periods: [50000, 100000, 150000, 150000, 150000]
    restart_weights: [1, 1, 1, 1, 1]
    eta_min: !!float 1e-7
  total_iter: 600000
  warmup_iter: -1
  senmap_iter: ~
  dcn_lr_mul: 1
  pixel_opt:
    type: CharbonnierLoss
    loss_weight: 1.0
    reduction: sum
val:
  val_freq: !!float 1e4
  save_img: True
  metrics:
    psnr:
      type: calculate_psnr
      crop_border: 2
      test_y_channel: True
logger:
  print_freq: 200
  save_checkpoint_freq: !!float 1e4
  use_tb_logger: false
  wandb:
    project: ~
    resume_id: ~
dist_params:
  backend: nccl
  port: 29600
find_unused_parameters: true
"""

BASICSR_EDVR = """
name: EDVR
model_type: EDVRModel
scale: 4
num_gpu: 8
manual_seed: 10
datasets:
  train:
    name: REDS
    type: REDSDataset
    dataroot_gt: datasets/REDS/train_sharp
    dataroot_lq: datasets/REDS/train_sharp_bicubic
    dataroot_flow: ~
    meta_info_file: basicsr/data/meta_info/meta_info_REDS_GT.txt
    val_partition: REDS4
    io_backend: {type: disk}
    num_frame: 5
    gt_size: 256
    interval_list: [1]
    random_reverse: false
    use_flip: true
    use_rot: true
    use_shuffle: true
    num_worker_per_gpu: 3
    batch_size_per_gpu: 4
    dataset_enlarge_ratio: 200
    prefetch_mode: ~
network_g:
  type: EDVR
  num_in_ch: 3
  num_out_ch: 3
  num_feat: 64
  num_frame: 5
  deformable_groups: 8
  num_extract_block: 5
  num_reconstruct_block: 10
  center_frame_idx: ~
  hr_in: false
  with_predeblur: false
  with_tsa: false
path:
  pretrain_model_g: ~
  strict_load: true
  resume_state: ~
train:
  optim_g: {type: Adam, lr: !!float 4e-4, weight_decay: 0, betas: [0.9, 0.99]}
  scheduler: {type: CosineAnnealingRestartLR, periods: [150000, 150000], restart_weights: [1, 1], eta_min: !!float 1e-7}
  total_iter: 300000
  warmup_iter: -1
  dcn_lr_mul: 1
  pixel_opt: {type: CharbonnierLoss, loss_weight: 1.0, reduction: sum}
"""


@pytest.fixture
def load(tmp_path):
    def load(text, mode='train'):
        (tmp_path / 'opt.yml').write_text(text)
        return load_options(tmp_path / 'opt.yml', mode, check_paths=False)

    return load


def test_files_of_the_release_load_unmodified(load):
    opt = load(RELEASE)
    assert opt.path.bin_model == './experiments/bin_100000.pth'
    assert opt.val.val_freq == 10000
    assert opt.datasets['train'].args['meta_info_file'].endswith('votes/data/meta_info/meta_info_UVSSMWeChat.txt')
    assert [n for n in opt.notices if 'no effect' in n] == [
        'keys that have no effect here: find_unused_parameters, senmap_iter'
    ]
    before = RELEASE.split('train:\n  optim_g')[0].replace('pretrain_network_g: ~', 'pretrain_network_g: ./net.pth')
    opt = load(before + 'val:\n  save_img: True\n  suffix: VOTES\n', mode='test')
    assert opt.path.pretrain_network_g == './net.pth'
    assert (opt.val.suffix, opt.train) == ('VOTES', None)


def test_files_of_basicsr_load_unmodified(load):
    opt = load(BASICSR_EDVR)
    assert opt.datasets['train'].args['val_partition'] == 'REDS4'
    assert opt.path.strict_load_g is True
    assert opt.train.tsa_iter == 0


def test_keys_of_basicsr_without_a_place_here(tmp_path):
    from conftest import tiny_options

    options = tiny_options('EDVRModel')
    options |= {'gpu_ids': [0], 'set_CUDA_VISIBLE_DEVICES': None}
    options['datasets']['val']['test_mode'] = True
    options['val']['metrics'] = {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'better': 'higher'}}
    (tmp_path / 'opt.yml').write_text(yaml.safe_dump(options))
    opt = load_options(tmp_path / 'opt.yml', check_paths=False)
    assert opt.notices == ['keys that have no effect here: gpu_ids, set_CUDA_VISIBLE_DEVICES, test_mode']
    assert opt.val.metrics['psnr'].args == {'crop_border': 0}
