# Train the network of mask-rcnn_small_9x_synthetic.py further, to twenty times the steps of
# mask-rcnn_small_synthetic.py, on sixteen sets, and let its mask head see the finest features:
# people are some 70 by 170 pixels in these images, for which FPN's rule takes coarser ones. The
# data come from the commands in mask-rcnn_small_9x_synthetic.py, with the seeds 10 to 25.
_base_ = ['mask-rcnn_small_9x_synthetic.py']

model = dict(roi_head=dict(mask_roi_extractor=dict(finest_scale=112)))

train_dataloader = dict(
    dataset=dict(
        datasets=[
            dict(
                _base_.train_dataloader.dataset.datasets[0],
                data_root=f'data/synthetic_h36m_{seed}/',
            )
            for seed in range(10, 26)
        ],
    ),
)

ITERATIONS = 17600
train_cfg = dict(max_iters=ITERATIONS)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=50),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=50, end=ITERATIONS, eta_min=1e-5),
]
load_from = 'work_dirs/mask-rcnn_small_9x_synthetic/weights.pth'
