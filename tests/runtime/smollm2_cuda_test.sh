#!/usr/bin/env bash
# The real model at 3 bits on the GPU, or the emulated one: the text and the perplexity of the cpu backend with f32 activations.
#   smollm2_cuda_test.sh BIN_DIR REPOSITORY
# SPQR_TEST_SMOLLM2_GGUF names the model (scripts/get_model); exit status 77: skipped, it or a GPU is not there.
set -euo pipefail
bin=$1
repository=$2
. "$repository/tests/runtime/smollm2_model.sh"

packed=$work/3bit.spqr
"$bin/spqr-quantize" "$model" "$packed" --preset 3bit --quiet --calibration-samples 2 --calibration-length 256 \
  --calibration "$repository/tests/fixtures/calibration/c4_sample.jsonl"

tell() {
  "$bin/spqr-run" -m "$packed" "$@" -p "The capital of France is" --temp 0 -n 32 -c 256
}
if ! found=$(tell --backend cuda 2> "$work/errors"); then
  cat "$work/errors"
  grep -q "there is no cuda backend here" "$work/errors" || exit 1
  echo "skipped: there is no GPU"
  exit 77
fi
expected=$(tell --backend cpu --activations f32)
echo "cuda: $found"
echo "cpu:  $expected"
[ "$found" = "$expected" ]

text=${SPQR_TEST_DATA:-/nonexistent}/wikitext2/wiki.test.raw
if [ ! -f "$text" ]; then
  echo "perplexity skipped: needs wikitext2/wiki.test.raw under SPQR_TEST_DATA"
  exit 0
fi
perplexity() {
  "$bin/spqr-perplexity" -m "$packed" "$@" --dataset wikitext2 -f "$text" -c 256 --windows 1 --json
}
perplexity --backend cuda > "$work/cuda.json"
perplexity --backend cpu --activations f32 > "$work/cpu.json"
python3 - "$work/cuda.json" "$work/cpu.json" <<'PYTHON'
import json, sys
found, expected = (json.load(open(name))["perplexity"] for name in sys.argv[1:])
print(f"perplexity on cuda {found:.5f}, on cpu {expected:.5f}")
assert abs(found / expected - 1) < 1e-3
PYTHON
