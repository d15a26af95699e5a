#!/usr/bin/env bash
# Replace mmcv-lite by the compiled mmcv of $WHEELS if its wheel fits this Python and loads under
# this PyTorch. Otherwise keep mmcv-lite, whose missing operators mmjrr.segmentation.mmcv_ops
# supplies.
set -euo pipefail
pip="$BIN/python -m pip"
lite=$(grep '^mmcv-lite==' "$(dirname "$0")/segmentation.txt")
for wheel in "$WHEELS"/mmcv-"${lite#mmcv-lite==}"-*.whl; do
    # Both distributions install the folder mmcv, so one must be removed before the other is installed.
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
echo "mmcv: $lite, because no wheel in $WHEELS fits"
