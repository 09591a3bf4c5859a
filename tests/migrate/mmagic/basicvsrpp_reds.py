_base_ = ['./base/edvr.py']

experiment_name = 'basicvsr-pp_reds4'
spynet = 'https://example.org/spynet_20210409.pth'

model = dict(
    type='BasicVSR',
    generator=dict(
        type='BasicVSRPlusPlusNet', mid_channels=64, num_blocks=7, is_low_res_input=True, spynet_pretrained=spynet
    ),
    pixel_loss=dict(type='CharbonnierLoss', loss_weight=1.0, reduction='mean'),
    train_cfg=dict(fix_iter=5000),
)
train_pipeline = [
    dict(type='GenerateSegmentIndices', interval_list=[1]),
    dict(type='PairedRandomCrop', gt_patch_size=64 * 4),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
]
train_dataloader = dict(
    num_workers=6, batch_size=1, dataset=dict(num_input_frames=30, num_output_frames=30, pipeline=train_pipeline)
)
val_dataloader = dict(dataset=dict(num_input_frames=100, fixed_seq_len=100, pipeline=[]))
val_evaluator = dict(
    _delete_=True, type='Evaluator', metrics=[dict(type='PSNR', crop_border=2, convert_to='Y'), dict(type='SSIM')]
)
optim_wrapper = dict(
    _delete_=True,
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.99)),
    paramwise_cfg=dict(custom_keys={'spynet': dict(lr_mult=0.25)}),
)
param_scheduler = dict(type='CosineRestartLR', by_epoch=False, periods=[600000], restart_weights=[1], eta_min=1e-7)
custom_hooks = [dict(type='ExponentialMovingAverageHook', interp_cfg=dict(momentum=0.001))]
