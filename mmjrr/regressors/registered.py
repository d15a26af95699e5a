"""Joint regressors as components of configs."""

from __future__ import annotations

from collections.abc import Sequence

from mmjrr.registry import MODELS
from mmjrr.regressors.joint_regressor import JointRegressor


@MODELS.register_module('JointRegressor')
def load_joint_regressor(
    source: str,
    joint_order: str | Sequence[str] | None = None,
    body_model: str | None = None,
    reorder: str | Sequence[str] | None = None,
) -> JointRegressor:
    """Load a joint regressor from a file or by its name in the zoo.

    Args:
        source: File, or name in the zoo.
        joint_order: As in :meth:`~mmjrr.regressors.JointRegressor.load`, and so is ``body_model``.
            Default: None.
        body_model: Default: None.
        reorder: Order of the joints of the result: ``'mmpose'``, ``'spin'`` or joint names.
            Default: None, the file's.

    Raises:
        FileNotFoundError: The file does not exist.
        DataError: The file is wrong.

    >>> from mmjrr.registry import MODELS
    >>> MODELS.build(dict(type='JointRegressor', source='free_body_h36m')).num_joints
    17
    """
    regressor = JointRegressor.load(source, joint_order=joint_order, body_model=body_model)
    return regressor if reorder is None else regressor.reorder(reorder)
