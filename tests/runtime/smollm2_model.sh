# Sourced by tests of the real model: $model and $work, a folder that goes when the test ends. Without the model that
# SPQR_TEST_SMOLLM2_GGUF names (scripts/get_model) the test is skipped, exit status 77.
model=${SPQR_TEST_SMOLLM2_GGUF:-}
if [ ! -f "$model" ]; then
  echo "skipped: needs SPQR_TEST_SMOLLM2_GGUF"
  exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
