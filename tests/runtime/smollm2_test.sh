#!/usr/bin/env bash
# The real model, end to end: a GGUF quantized by the tool, an answer, and a perplexity that transformers computed.
#   smollm2_test.sh BIN_DIR REPOSITORY
# SPQR_TEST_SMOLLM2_GGUF names the model (scripts/get_model); exit status 77: skipped, it is not there.
set -euo pipefail
bin=$1
repository=$2
. "$repository/tests/runtime/smollm2_model.sh"

prompt='<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n'
prompt+='<|im_start|>user\nWhat is the capital of France? Explain in one sentence.<|im_end|>\n<|im_start|>assistant\n'
ask() {
  local answer
  answer=$("$bin/spqr-run" -m "$1" --parse-special -e -p "$prompt" --no-display-prompt --temp 0 -n 64)
  echo "$1 answers: $answer"
  [ "$answer" = "The capital of France is Paris." ]
}

"$bin/spqr-quantize" "$model" "$work/f16.spqr" --scheme f16 --quiet
ask "$work/f16.spqr"

"$bin/spqr-quantize" "$model" "$work/near-lossless.spqr" --preset near-lossless --quiet \
  --calibration "$repository/tests/fixtures/calibration/c4_sample.jsonl" --calibration-samples 4 --calibration-length 512
"$bin/spqr-inspect" "$work/near-lossless.spqr" --verify > /dev/null
ask "$work/near-lossless.spqr"

text=${SPQR_TEST_DATA:-/nonexistent}/wikitext2/wiki.test.raw
if [ ! -f "$text" ]; then
  echo "perplexity skipped: needs wikitext2/wiki.test.raw under SPQR_TEST_DATA"
  exit 0
fi
# transformers 5.23, float32, windows of 512: exp of the mean of the two windows' mean losses.
expected=28.2300
"$bin/spqr-perplexity" -m "$work/f16.spqr" --dataset wikitext2 -f "$text" -c 512 --windows 2 --json --cache-type-v f32 > "$work/perplexity.json"
python3 - "$work/perplexity.json" "$expected" <<'PYTHON'
import json, sys
found, expected = json.load(open(sys.argv[1])), float(sys.argv[2])
print(f"perplexity {found['perplexity']:.4f}, expected {expected}")
assert found["text_tokens"] == 304978 and abs(found["perplexity"] / expected - 1) < 1e-3
PYTHON
