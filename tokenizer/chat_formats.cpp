#include "tokenizer/chat_formats.h"

namespace spqr {

const std::array<ChatFormat, 8> kChatFormats{{
    {"chatml", R"({% for message in messages %}
{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %})"},

    {"llama-2", R"({% set ns = namespace(system='') %}
{% for message in messages %}
{% if message.role == 'system' %}
{% set ns.system = '<<SYS>>\n' + message.content + '\n<</SYS>>\n\n' %}
{% elif message.role == 'user' %}
{{ bos_token + '[INST] ' + (ns.system + message.content).strip() + ' [/INST]' }}
{%- set ns.system = '' %}
{% else %}
{{ ' ' + message.content.strip() + ' ' + eos_token }}
{%- endif %}
{% endfor %})"},

    {"llama-3", R"({{ bos_token }}
{%- for message in messages %}
{{ '<|start_header_id|>' + message.role + '<|end_header_id|>\n\n' + message.content | trim + '<|eot_id|>' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %})"},

    {"mistral", R"({{ bos_token }}
{%- set ns = namespace(system='') %}
{% for message in messages %}
{% if message.role == 'system' %}
{% set ns.system = message.content + '\n\n' %}
{% elif message.role == 'user' %}
{{ '[INST] ' + ns.system + message.content + ' [/INST]' }}
{%- set ns.system = '' %}
{% else %}
{{ message.content + eos_token }}
{%- endif %}
{% endfor %})"},

    {"zephyr", R"({% for message in messages %}
{{ '<|' + message.role + '|>\n' + message.content + eos_token + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %})"},

    {"falcon", R"({% set names = {'system': 'System: ', 'user': 'User: ', 'assistant': 'Falcon: '} %}
{% for message in messages %}
{{ names[message.role] + message.content + '\n' }}
{%- endfor %}
{% if add_generation_prompt %}Falcon:{% endif %})"},

    {"vicuna", R"({{ bos_token }}
{%- if messages and messages[0].role != 'system' %}
{{ 'A chat between a curious user and an artificial intelligence assistant. '
   "The assistant gives helpful, detailed, and polite answers to the user's questions. " }}
{%- endif %}
{% for message in messages %}
{% if message.role == 'system' %}
{{ message.content + ' ' }}
{%- elif message.role == 'user' %}
{{ 'USER: ' + message.content + ' ' }}
{%- else %}
{{ 'ASSISTANT: ' + message.content + eos_token }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}ASSISTANT:{% endif %})"},

    {"alpaca", R"({{ bos_token }}
{%- if messages and messages[0].role != 'system' %}
{{ 'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' }}
{%- endif %}
{% for message in messages %}
{% if message.role == 'system' %}
{{ message.content + '\n\n' }}
{%- elif message.role == 'user' %}
{{ '### Instruction:\n' + message.content + '\n\n' }}
{%- else %}
{{ '### Response:\n' + message.content + eos_token + '\n\n' }}
{%- endif %}
{% endfor %}
{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %})"},
}};

}  // namespace spqr
