# Train the small Mask R-CNN further, for eight times its steps, on six other synthetic sets. The
# data come from
#     for seed in 10 11 12 13 14 15; do
#         out=data/synthetic_h36m_$seed
#         python tools/dataset_converters/make_synthetic_h36m.py --out $out --seed $seed
#         python tools/dataset_converters/masks_to_coco.py $out
#     done
_base_ = ['mask-rcnn_small_synthetic.py']

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[
            dict(_base_.train_dataloader.dataset, data_root=f'data/synthetic_h36m_{seed}/')
            for seed in range(10, 16)
        ],
    ),
)

ITERATIONS = 12800
train_cfg = dict(max_iters=ITERATIONS)
optim_wrapper = dict(optimizer=dict(lr=1e-3))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=ITERATIONS, eta_min=1e-5),
]
load_from = 'work_dirs/mask-rcnn_small_synthetic/weights.pth'
