#!/usr/bin/env python3
"""Writes tests/fixtures/chat.json: chat templates in Jinja, conversations, and what transformers renders of them.

    scripts/make_chat_fixtures.py [MODEL_DIR]

The templates are written here in the manner of models that use each format; MODEL_DIR (tests/fixtures/tokenizers/smollm2) has a
real one. Needs transformers and jinja2.
"""
import json
import pathlib
import sys

from transformers.utils.chat_template_utils import render_jinja_template

ROOT = pathlib.Path(__file__).parent.parent

CHATML = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
CHATML_WITH_DEFAULT = (
    "{%- if messages[0]['role'] != 'system' %}{{- '<|im_start|>system\\nYou are a test.<|im_end|>\\n' }}{%- endif %}"
    "{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content|trim + '<|im_end|>' + '\\n' }}{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}")
LLAMA3 = ("{% for m in messages %}{% set text = '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim"
          " + '<|eot_id|>' %}{% if loop.first %}{% set text = bos_token + text %}{% endif %}{{ text }}{% endfor %}"
          "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}")
LLAMA31 = ("{{- bos_token }}{%- if messages[0]['role'] == 'system' %}{%- set said = messages[0]['content']|trim %}"
           "{%- set rest = messages[1:] %}{%- else %}{%- set said = '' %}{%- set rest = messages %}{%- endif %}"
           "{{- '<|start_header_id|>system<|end_header_id|>\\n\\n' }}{{- 'Cutting Knowledge Date: December 2023\\n' }}"
           "{{- 'Today Date: ' + '26 Jul 2024' + '\\n\\n' }}{{- said }}{{- '<|eot_id|>' }}{%- for m in rest %}"
           "{{- '<|start_header_id|>' + m['role'] + '<|end_header_id|>\\n\\n' + m['content'] | trim + '<|eot_id|>' }}"
           "{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}")
LLAMA2 = ("{% if messages[0]['role'] == 'system' %}{% set said = messages[0]['content'] %}{% set rest = messages[1:] %}"
          "{% else %}{% set rest = messages %}{% endif %}{% for m in rest %}"
          "{% if loop.first and said is defined %}{% set text = '<<SYS>>\\n' + said + '\\n<</SYS>>\\n\\n' + m['content'] %}"
          "{% else %}{% set text = m['content'] %}{% endif %}{% if m['role'] == 'user' %}"
          "{{ bos_token + '[INST] ' + text.strip() + ' [/INST]' }}{% else %}{{ ' ' + text.strip() + ' ' + eos_token }}"
          "{% endif %}{% endfor %}")
MISTRAL = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
           "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}")
MISTRAL_TIGHT = ("{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST]' + m['content'] + '[/INST]' }}"
                 "{% else %}{{ ' ' + m['content'] + eos_token }}{% endif %}{% endfor %}")
ZEPHYR = ("{% for m in messages %}\n{% if m['role'] == 'user' %}\n{{ '<|user|>\\n' + m['content'] + eos_token }}\n"
          "{% elif m['role'] == 'system' %}\n{{ '<|system|>\\n' + m['content'] + eos_token }}\n{% else %}\n"
          "{{ '<|assistant|>\\n' + m['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n"
          "{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}")
FALCON = ("{% for m in messages %}{% if m['role'] == 'system' %}{{ 'System: ' }}{% elif m['role'] == 'user' %}{{ 'User: ' }}"
          "{% else %}{{ 'Falcon: ' }}{% endif %}{{ m['content'] + '\\n' }}{% endfor %}"
          "{% if add_generation_prompt %}{{ 'Falcon:' }}{% endif %}")
VICUNA = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + ' ' }}{% set rest = messages[1:] %}"
          "{% else %}{{ 'A chat between a person and a machine. It is kind.' + ' ' }}{% set rest = messages %}{% endif %}"
          "{% for m in rest %}{% if m['role'] == 'user' %}{{ 'USER: ' + m['content'] + ' ' }}{% else %}"
          "{{ 'ASSISTANT: ' + m['content'] + eos_token }}{% endif %}{% endfor %}"
          "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
ALPACA = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + '\\n\\n' }}"
          "{% set rest = messages[1:] %}{% else %}{{ 'Below is a task. Write what it asks for, please.' + '\\n\\n' }}"
          "{% set rest = messages %}{% endif %}{% for m in rest %}{% if m['role'] == 'user' %}"
          "{{ '### Instruction:\\n' + m['content'] + '\\n\\n' }}{% else %}{{ '### Response:\\n' + m['content'] + eos_token + '\\n\\n' }}"
          "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '### Response:\\n' }}{% endif %}")
TEMPLATES = [("chatml", CHATML), ("chatml", CHATML_WITH_DEFAULT), ("llama-3", LLAMA3), ("llama-3", LLAMA31), ("llama-2", LLAMA2),
             ("mistral", MISTRAL), ("mistral", MISTRAL_TIGHT), ("zephyr", ZEPHYR), ("falcon", FALCON), ("vicuna", VICUNA),
             ("alpaca", ALPACA)]
REFUSED = [
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '<|im_sep|>' + m.content + '<|im_end|>' }}{% endfor %}",
    "{% for m in messages %}{{ '<|user|>\\n' + m.content + '<|end|>\\n<|assistant|>\\n' }}{% endfor %}",
    "{% for m in messages %}{{ '[SYSTEM_PROMPT]' + '[INST]' + m.content + '[/INST]' }}{% endfor %}",
    "{% for m in messages %}{{ '<start_of_turn>' + m.role + m.content + '<end_of_turn>' }}{% endfor %}",
    "{% for m in messages %}{{ m.content }}{% endfor %}", ""]
CONVERSATIONS = [
    [("user", "Hi")],
    [("user", " Hello there! \n"), ("assistant", "Hello."), ("user", "Who are you?")],
    [("system", "Be brief."), ("user", "a\nb")],
    [("system", "Be brief."), ("user", "One"), ("assistant", " Two "), ("user", "Three"), ("assistant", "Four"), ("user", "F\u00fcnf")],
    [("user", "One"), ("assistant", "Two")]]


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/fixtures/tokenizers/smollm2"
    real = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    cases = []
    for name, template in TEMPLATES + [("chatml", real)]:
        for conversation in CONVERSATIONS:
            if name == "mistral" and conversation[0][0] == "system":
                continue  # these templates know no system messages
            messages = [{"role": role, "content": content} for role, content in conversation]
            text, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=messages[-1]["role"] == "user",
                                            bos_token="<s>", eos_token="</s>")
            cases.append({"format": name, "template": template, "messages": messages, "text": text[0]})
    out = ROOT / "tests/fixtures/chat.json"
    out.write_text(json.dumps({"cases": cases, "refused": REFUSED}, indent=1) + "\n")


if __name__ == "__main__":
    main()
