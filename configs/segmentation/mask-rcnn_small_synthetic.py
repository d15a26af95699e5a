# Train a small Mask R-CNN (ResNet-18 with three eighths of the width, 384 px images) from scratch,
# on a CPU, for the people of the synthetic set. The data come from
#     python tools/dataset_converters/make_synthetic_h36m.py --out data/synthetic_h36m
#     python tools/dataset_converters/masks_to_coco.py data/synthetic_h36m
_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']

default_scope = 'mmdet'
custom_imports = dict(imports=['mmjrr.segmentation.with_mmdet'], allow_failed_imports=False)

WIDTH = 24
CHANNELS = 48
# Trained from scratch, the heads learn far faster with normalization.
NORM = dict(type='BN')
model = dict(
    data_preprocessor=dict(pad_size_divisor=32),
    backbone=dict(
        depth=18,
        base_channels=WIDTH,
        frozen_stages=-1,
        norm_eval=False,
        init_cfg=None,
    ),
    neck=dict(
        in_channels=[WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH],
        out_channels=CHANNELS,
        norm_cfg=NORM,
    ),
    rpn_head=dict(
        in_channels=CHANNELS,
        feat_channels=CHANNELS,
        anchor_generator=dict(ratios=[1.0, 2.0]),
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=CHANNELS, roi_layer=dict(sampling_ratio=2)),
        bbox_head=dict(
            type='ConvFCBBoxHead',
            num_shared_convs=2,
            num_shared_fcs=1,
            in_channels=CHANNELS,
            conv_out_channels=CHANNELS,
            fc_out_channels=256,
            num_classes=1,
            norm_cfg=NORM,
            loss_bbox=dict(type='L1Loss', loss_weight=3.0),
        ),
        mask_roi_extractor=dict(
            out_channels=CHANNELS, roi_layer=dict(output_size=28, sampling_ratio=2)
        ),
        mask_head=dict(
            num_convs=3,
            in_channels=CHANNELS,
            conv_out_channels=CHANNELS,
            num_classes=1,
            norm_cfg=NORM,
            # With a smaller weight, the losses of boxes decide what the backbone learns.
            loss_mask=dict(type='CrossEntropyLoss', use_mask=True, loss_weight=5.0),
        ),
    ),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=64)),
        rpn_proposal=dict(nms_pre=200, max_per_img=100),
        rcnn=dict(sampler=dict(num=16), mask_size=56),
    ),
    test_cfg=dict(
        rpn=dict(nms_pre=200, max_per_img=50),
        rcnn=dict(max_per_img=5),
    ),
)

data_root = 'data/synthetic_h36m/'
SIZE = (384, 384)
metainfo = dict(classes=('person',))
train_dataloader = dict(
    batch_size=2,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/person_train.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
            dict(type='Resize', scale=SIZE, keep_ratio=True),
            dict(type='RandomFlip', prob=0.5),
            dict(type='PhotoMetricDistortion'),
            dict(type='PackDetInputs'),
        ],
    ),
)
test_dataloader = dict(
    batch_size=1,
    num_workers=1,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset',
        data_root=data_root,
        ann_file='annotations/person_test.json',
        data_prefix=dict(img='images/'),
        metainfo=metainfo,
        test_mode=True,
        pipeline=[
            dict(type='LoadImageFromFile'),
            dict(type='Resize', scale=SIZE, keep_ratio=True),
            dict(
                type='PackDetInputs',
                meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
            ),
        ],
    ),
)
test_evaluator = dict(
    type='CocoMetric', ann_file=data_root + 'annotations/person_test.json', metric=['bbox', 'segm']
)
test_cfg = dict(type='TestLoop')

ITERATIONS = 1600
train_cfg = dict(type='IterBasedTrainLoop', max_iters=ITERATIONS)
optim_wrapper = dict(
    optimizer=dict(type='AdamW', lr=2e-3, weight_decay=0.01),
    clip_grad=dict(max_norm=10.0),
)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=ITERATIONS, eta_min=1e-5),
]

custom_hooks = [dict(type='mmjrr.SaveWeightsHook'), dict(type='mmjrr.IterationSeedHook')]
default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    checkpoint=dict(type='mmjrr.ResumableCheckpointHook', interval=100),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    runtime_info=dict(type='RuntimeInfoHook'),
)
env_cfg = dict(cudnn_benchmark=False, mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0))
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=False)
log_level = 'INFO'
randomness = dict(seed=0)
load_from = None
resume = False
