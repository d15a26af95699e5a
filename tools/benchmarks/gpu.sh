#!/usr/bin/env bash
# Check and time every path on a GPU in at most six minutes, on a machine that has a driver,
# PyTorch and Python 3.12 or newer:
#
#     bash tools/benchmarks/gpu.sh [--wheels DIR] [options of gpu.py]
#     bash tools/benchmarks/gpu.sh --device cpu      # rehearse on the CPU, with small sizes
#
# --wheels installs the wheels of a folder without their dependencies into a temporary folder, for
# this run only. PYTHON (default python3) is the interpreter that has PyTorch.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3}
arguments=()
wheels=
while (($#)); do
    case $1 in
    --wheels)
        wheels=${2:?--wheels: expected a folder}
        shift
        ;;
    *) arguments+=("$1") ;;
    esac
    shift
done
if [[ -n $wheels ]]; then
    compgen -G "$wheels/*.whl" >/dev/null || {
        echo "$wheels: found no wheel, expected a folder of wheels" >&2
        exit 1
    }
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    "$python" -m pip install -q --no-index --no-deps --no-cache-dir --target "$site" "$wheels"/*.whl
    PYTHONPATH=$site${PYTHONPATH:+:$PYTHONPATH}
fi
PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} "$python" tools/benchmarks/gpu.py "${arguments[@]}"
