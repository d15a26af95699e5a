#!/usr/bin/env bash
# Replace mmcv-lite by the compiled mmcv of $WHEELS, if its wheel is for this Python and loads under
# this PyTorch; keep mmcv-lite, whose missing operators mmjrr.segmentation.mmcv_ops supplies, if not.
set -euo pipefail
pip="$BIN/python -m pip"
lite=$(grep '^mmcv-lite==' "$(dirname "$0")/segmentation.txt")
for wheel in "$WHEELS"/mmcv-"${lite#mmcv-lite==}"-*.whl; do
    # Both distributions install the folder mmcv: one must be gone before the other comes.
    if $pip install -q --no-deps --no-index --dry-run "$wheel" 2> /dev/null; then
        $pip uninstall -q -y mmcv-lite mmcv
        $pip install -q --no-deps --no-index "$wheel"
        if "$BIN/python" -c 'import torch, mmcv._ext'; then
            echo "mmcv: compiled, from $wheel"
            exit 0
        fi
        $pip uninstall -q -y mmcv
        $pip install -q --no-deps "$lite"
    fi
done
echo "mmcv: $lite, since no wheel in $WHEELS fits"
