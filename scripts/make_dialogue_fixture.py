#!/usr/bin/env python3
"""Writes tests/fixtures/dialogue.json: three turns with SmolLM2-135M-Instruct as transformers answers them, greedily, in float32.

    scripts/make_dialogue_fixture.py MODEL

MODEL is the Hugging Face checkpoint that scripts/smollm2_to_hf.py makes. Python needs torch and transformers.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

QUESTIONS = ["What is the capital of France? Explain in one sentence.", "And what is the capital of Italy?",
             "Say the names of both cities once more."]
TOKENS = 48

tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
messages = [{"role": "system", "content": "You are a helpful AI assistant named SmolLM, trained by Hugging Face"}]
for question in QUESTIONS:
    messages.append({"role": "user", "content": question})
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)[0, inputs["input_ids"].shape[1]:]
    messages.append({"role": "assistant", "content": tokenizer.decode(ids, skip_special_tokens=True)})
out = pathlib.Path(__file__).parent.parent / "tests/fixtures/dialogue.json"
out.write_text(json.dumps({"tokens": TOKENS, "messages": messages}, indent=2) + "\n")
print(json.dumps(messages, indent=1))
