#!/usr/bin/env python
"""Build the free body's regressor of Human3.6M's joints, which ships with mmjrr.

The regressor is constructed from the body's geometry, not learned from data::

    python tools/build_free_body_regressor.py [--out mmjrr/regressors/data/free_body_h36m.npz]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mmjrr.io import atomic_write
from mmjrr.joints import H36M_JOINTS_MMPOSE


def main() -> None:
    """Build and save the regressor."""
    default = Path(__file__).parents[1] / 'mmjrr' / 'regressors' / 'data' / 'free_body_h36m.npz'
    parser = argparse.ArgumentParser(description=(__doc__ or '').splitlines()[0])
    parser.add_argument(
        '--out', type=Path, default=default, help='.npz file to write (default: %(default)s)'
    )
    out: Path = parser.parse_args().out

    from free_body.h36m_regressor import build_h36m_regressor

    regressor = build_h36m_regressor()
    rows, columns = np.nonzero(regressor)
    with atomic_write(out) as temporary:
        np.savez(
            temporary,
            rows=rows.astype(np.int32),
            columns=columns.astype(np.int32),
            values=regressor[rows, columns],
            shape=np.array(regressor.shape),
            joint_names=np.array(H36M_JOINTS_MMPOSE),
        )
    print(f'{out}: {len(rows)} weights, {out.stat().st_size} bytes')


if __name__ == '__main__':
    main()
