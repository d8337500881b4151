#!/usr/bin/env bash
# scripts/compare_ik_llama: what cannot be measured is one sentence and exit status 2, before anything runs.
set -euo pipefail
compare=$1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

mkdir bin
for program in bin/spqr-bench llama-bench; do
  printf '#!/bin/sh\ntouch ran\necho "first line" >&2\necho "the last line" >&2\nexit 1\n' > "$program"
  chmod +x "$program"
done
touch ours.spqr
echo "GGUX and more than a header has, as far as bytes are counted" > other.gguf
printf 'GGUF\3\0\0\0\1' > short.gguf
# No values; one tensor, "output.weight", of one extent.
{ printf 'GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
  printf '\15\0\0\0\0\0\0\0output.weight\1\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'; } > half.gguf
{ printf 'GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'
  printf '\21\0\0\0\0\0\0\0token_embd.weight\1\0\0\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0'; } > theirs.gguf

# check STATUS PART ARGUMENTS...
check() {
  local status=0
  "$compare" "${@:3}" > out 2> err || status=$?
  if [ "$status" != "$1" ] || [ -s out ] || [ "$(wc -l < err)" != 1 ] || ! grep -qF -- "$2" err; then
    echo "expected status $1 and one line with '$2', got $status:" >&2
    cat out err >&2
    exit 1
  fi
}
refuses() {
  check 2 "$@"
  if [ -e ran ]; then
    echo "something ran before '$1'" >&2
    exit 1
  fi
}

pair=(--bin bin --pair tiny ours.spqr theirs.gguf)
refuses "nowhere is no program" nowhere "${pair[@]}"
refuses "spqr-bench is no program" llama-bench "${pair[@]}" --bin .
refuses "other.gguf is no GGUF file" llama-bench --bin bin --pair tiny ours.spqr other.gguf
refuses "short.gguf is no GGUF file" llama-bench --bin bin --pair tiny ours.spqr short.gguf
refuses "half.gguf is no GGUF file of a model" llama-bench --bin bin --pair tiny ours.spqr half.gguf
refuses "cannot read none.gguf" llama-bench "${pair[@]}" --pair small ours.spqr none.gguf
refuses "there is no file none.spqr" llama-bench "${pair[@]}" --pair small none.spqr theirs.gguf
refuses "two pairs have the same name" llama-bench "${pair[@]}" --pair tiny ours.spqr theirs.gguf
refuses "--rounds is 0, expected 1 or more" llama-bench "${pair[@]}" --rounds 0
refuses "--generate is 0, expected 1 or more" llama-bench "${pair[@]}" --generate 0
refuses "--threads is -1, expected 0 or more" llama-bench "${pair[@]}" --threads -1

check 1 "spqr-bench failed: the last line" llama-bench "${pair[@]}"
