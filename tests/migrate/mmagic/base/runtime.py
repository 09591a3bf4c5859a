"""What mmagic's configurations share: hooks and logging, with the names that they have there."""

default_scope = 'mmagic'
save_dir = './work_dirs'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=100),
    checkpoint=dict(type='CheckpointHook', interval=5000, out_dir=save_dir, by_epoch=False, max_keep_ckpts=10),
)
env_cfg = dict(cudnn_benchmark=False, dist_cfg=dict(backend='nccl'))
load_from = None
resume = False
