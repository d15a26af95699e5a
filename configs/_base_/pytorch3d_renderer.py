# PyTorch3D's soft silhouette, in the setting of the paper's authors. To install PyTorch3D:
# https://github.com/facebookresearch/pytorch3d/blob/main/INSTALL.md
pytorch3d_renderer = dict(
    type='PyTorch3DSilhouette',
    image_size=(224, 224),
    faces_per_pixel=1,
    blur_radius=0.0,
    sigma=1e-4,
)
