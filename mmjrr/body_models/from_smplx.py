"""Conversion of smplx's models to this package's bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor, nn

from mmjrr.array_types import Array
from mmjrr.body_models.smpl import SMPL
from mmjrr.body_models.smplh import SMPLH, SMPLX

if TYPE_CHECKING:
    import smplx


def from_smplx(model: smplx.SMPL) -> SMPL:
    """Convert a model of smplx to a body with fast skinning and lazy vertices.

    The body has the model's dtype, gender, number of coefficients, age and meaning of hand poses.
    smplx's extra joints, which are vertices and landmarks, are left out, and its default parameters
    are not kept: arguments that are not passed are zeros.

    Args:
        model: What ``smplx.create`` or ``smplx.build_layer`` returns for SMPL, SMPL-H or SMPL-X.

    Raises:
        ValueError: The model is not one of these.
    """
    import smplx

    cls: type[SMPL]
    if isinstance(model, (smplx.MANO, smplx.FLAME)):
        raise ValueError(f'model: found {type(model).__name__}, expected SMPL, SMPL-H or SMPL-X')
    if isinstance(model, smplx.SMPLX):
        cls = SMPLX
    elif isinstance(model, smplx.SMPLH):
        cls = SMPLH
    elif isinstance(model, smplx.SMPL):
        cls = SMPL
    else:
        raise ValueError(f'model: found {type(model).__name__}, expected a model of smplx')
    template = _array(model.v_template)
    shapedirs = _array(model.shapedirs)
    arrays: dict[str, Any] = dict(
        v_template=template,
        posedirs=_array(model.posedirs).T.reshape(len(template), 3, -1),
        weights=_array(model.lbs_weights),
        J_regressor=_array(model.J_regressor),
        f=np.asarray(model.faces_tensor.cpu(), dtype=np.int64),
        parents=[-1, *model.parents[1:].tolist()],
    )
    expression = _array(model.expr_dirs) if cls is SMPLX else shapedirs[:, :, :0]
    body = cls.__new__(cls)
    nn.Module.__init__(body)
    dtype = model.v_template.dtype
    body._set_body(None, model.gender, arrays, shapedirs, expression, dtype)
    body.age = model.age
    if isinstance(body, SMPLH):
        is_layer = isinstance(model, (smplx.SMPLHLayer, smplx.SMPLXLayer))
        use_pca = bool(model.use_pca) and not is_layer
        for side in ('left', 'right'):
            arrays[f'hands_mean{side[0]}'] = _array(getattr(model, f'{side}_hand_mean'))
            if use_pca:
                components = _array(getattr(model, f'{side}_hand_components'))
                arrays[f'hands_components{side[0]}'] = components
        # Layers of smplx take complete rotations, without the mean.
        body._set_hands(arrays, use_pca, model.num_pca_comps, is_layer, dtype)
    return body.to(model.v_template.device)


def _array(tensor: Tensor) -> Array:
    return tensor.detach().cpu().double().numpy()
