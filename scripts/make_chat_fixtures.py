#!/usr/bin/env python3
"""Writes tests/fixtures/chat.json: templates in Jinja, conversations, and what transformers renders of them.

    scripts/make_chat_fixtures.py [MODEL_DIR]

The templates are written here in the manner of models that use each format; MODEL_DIR (tests/fixtures/tokenizers/smollm2) has a
real one. Needs transformers and jinja2.
"""
import json
import pathlib
import sys

import jinja2
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
# As later models do it: the system message in the last user turn, a space before </s>, thinking taken out of earlier answers, ...
SYSTEM_LAST = ("{%- if messages[0]['role'] == 'system' %}{%- set said = messages[0]['content'] %}{%- set rest = messages[1:] %}"
               "{%- else %}{%- set rest = messages %}{%- endif %}{{- bos_token }}{%- for m in rest %}{%- if m['role'] == 'user' %}"
               "{%- if loop.last and said is defined %}{{- '[INST] ' + said + '\\n\\n' + m['content'] + '[/INST]' }}{%- else %}"
               "{{- '[INST] ' + m['content'] + '[/INST]' }}{%- endif %}{%- elif m['role'] == 'assistant' %}"
               "{{- ' ' + m['content']|trim + eos_token }}{%- endif %}{%- endfor %}")
SPACE_BEFORE_END = ("{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
                    "{{ raise_exception('user and assistant take turns') }}{% endif %}{% if m['role'] == 'user' %}"
                    "{{ ' [INST] ' + m['content'] + ' [/INST]' }}{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}")
NO_SYSTEM = ("{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
             "{% for m in messages %}{% if m['role'] == 'assistant' %}{% set role = 'model' %}{% else %}{% set role = m['role'] %}{% endif %}"
             "{{ '<start_of_turn>' + role + '\\n' + m['content'] | trim + '<end_of_turn>\\n' }}{% endfor %}"
             "{% if add_generation_prompt %}{{'<start_of_turn>model\\n'}}{% endif %}")
THINKING = """{%- set ns = namespace(last=messages|length - 1, open=true) %}
{%- for m in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.open and m.role == "user" and m.content is string and not(m.content.startswith('<r>') and m.content.endswith('</r>')) %}
        {%- set ns.open = false %}
        {%- set ns.last = index %}
    {%- endif %}
{%- endfor %}
{%- for m in messages %}
    {%- if m.role in ['user', 'system'] %}
        {{- '<|im_start|>' ~ m.role ~ '\\n' ~ m.content ~ '<|im_end|>' + '\\n' }}
    {%- else %}
        {%- set content = m.content %}
        {%- set thought = '' %}
        {%- if '</think>' in m.content %}
            {%- set thought = m.content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = m.content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last and (loop.last or thought) %}
            {{- '<|im_start|>' + m.role + '\\n<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>' + m.role + '\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
MACROS = """{# a comment -#}
{%- macro turn(role, text='', end="<|end|>") -%}
    {{- "<|start|>" ~ role }}<|message|>{{ text }}{{ end -}}
{%- endmacro -%}
{%- macro tool(parameters) %}{% for name, type in parameters.items() %}{{ name }}: {{ type|tojson }}{{ ", " if not loop.last }}{% endfor %}{% endmacro %}
{%- set knowledge = "2024-06" -%}
{%- for m in messages %}
    {%- if m['role'] == 'system' %}
        {{- turn("developer", "# Instructions\\n\\n" + m.content) }}
    {%- elif m['role'] == 'assistant' %}
        {{- turn(text=m.content, role="assistant", end="<|return|>" if loop.last else "<|end|>") }}
    {%- else %}
        {{- turn(m['role'], m['content']) }}
    {%- endif %}
{%- endfor -%}
{%- if tools %}{{ tool(tools) }}{% endif -%}
{%- if add_generation_prompt -%}
<|start|>assistant
{%- endif -%}
"""
BLOCKS = ("{% for m in messages %}\n{% if m['role'] == 'user' %}\n<|user|>\n{{ m['content'] }}\n{% elif m['role'] == 'system' %}\n"
          "<|system|>\n{{ m['content'] }}\n{% else %}\n  <|assistant|>\n{% generation %}{{ m['content'] }}{{ eos_token }}{% endgeneration %}\n"
          "{% endif %}\n{% endfor %}\n{% if add_generation_prompt %}\n<|assistant|>\n{% endif %}\n")
TEMPLATES = [CHATML, CHATML_WITH_DEFAULT, LLAMA3, LLAMA31, LLAMA2, MISTRAL, MISTRAL_TIGHT, ZEPHYR, FALCON, VICUNA, ALPACA, SYSTEM_LAST,
             SPACE_BEFORE_END, NO_SYSTEM, THINKING, MACROS, BLOCKS, BLOCKS.replace("\n", "\r\n")]
# Rules of the language, one by one; `messages` is one message of the user, " It's <b>\nyou </s> ".
RULES = [
    # white space
    "a\n  {% if true %}\n b \n  {% endif %}\n c\n", "a {%+ if true %} b {%+ endif +%}\n c", "a \n {%- if true -%} \n b {%- endif -%} \n c\n\n",
    "  {# one #}\n  two {#- three -#} \n four\n", "{{ 1 }}\n{{ 2 -}}\n {{- 3 }}  \n", "\n\n{{ 1 }}\n\n", "{% if true %}\n{% if true %}\n x\n{% endif %}{% endif %}",
    # values as text
    "{{ 1 }} {{ 1.5 }} {{ 1.0 }} {{ true }} {{ None }} {{ missing }} {{ [1, 'a', \"it's\", none, true] }} {{ (1,) }} {{ {'a': [1], 'b': '\\n'} }}",
    "{{ 7 // 2 }} {{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 * 3 + 1 }} {{ 'ab' * 2 }} {{ 1 ~ 'a' ~ none }} {{ -3|string }} {{ 2 - -1 }} {{ 7.5 // 2 }} {{ -7.5 % 2 }}",
    "{{ 'a' 'b' }} {{ '\\x41\\u00e9\\n\\t\\'\\\"\\\\\\q\\101' }}", "{{ 'a' if false }}|{{ 'a' if 0 else 'b' if '' else 'c' }}",
    # comparison and logic
    "{{ 1 < 2 < 3 }} {{ 1 == 1.0 }} {{ 'a' < 'b' }} {{ not 1 == 2 }} {{ 1 in [1, 2] }} {{ 'a' not in 'bc' }} {{ 'a' in {'a': 1} }} {{ [1] == [1] }} {{ true == 1 }} {{ none == false }}",
    "{{ '' or 'x' }} {{ 'a' and 'b' }} {{ [] and 1 }} {{ 0 or none }} {{ missing or 'y' }} {{ not missing }} {{ (1, 2) == [1, 2] }} {{ missing == missing2 }}",
    # elements and parts
    "{% set t = 'h\u00e9llo' %}{{ t[1] }} {{ t[-1] }} {{ t[1:3] }} {{ t[::-1] }} {{ t[::2] }} {{ t[9] }} {{ t[:-1] }} {{ t|length }} {{ t[10:] }} {{ t[-2:9] }}",
    "{% set l = [1, 2, 3, 4] %}{{ l[1:] }} {{ l[-1] }} {{ l[::-1] }} {{ l[3:0:-2] }} {{ l[7] is defined }} {{ l|first }} {{ l|last }} {{ l|length }} {{ l.0 }}",
    "{% set d = {'a': 1, 'items': 2, 'b': {'c': 3}} %}{{ d.a }} {{ d['items'] }} {{ d.b.c }} {{ d.x is defined }} {{ d.get('a') }} {{ d.get('x', 5) }} {{ d.get('x') }} {{ d.keys()|list }}"
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %} {{ d|length }} {{ d.values()|list }} {{ d|items|list }} {{ d|dictsort }}",
    # loops
    "{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.previtem }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in range(5) if x % 2 %}{{ x }}{{ loop.last }}{% endfor %}{% for x in [] %}{{ x }}{% else %}none{% endfor %}{% for x in missing %}{% else %}!{% endfor %}",
    "{% for x in range(2, 9, 3) %}{% if x == 5 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% for x in 'abc' %}{% if x == 'c' %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 2 %}{% endif %}{{ x }}",
    "{% set ns = namespace(a=1, b='') %}{% for i in [1, 2] %}{% set ns.a = ns.a + i %}{% set ns.c = i %}{% endfor %}{{ ns.a }}{{ ns.c }}{{ ns.d }}{{ ns.b is defined }}",
    "{% for a, b in [[1, 2], (3, 4)] %}{{ a }}{{ b }}{% endfor %}{% for a in [[1], [2]] %}{% for b in a %}{{ loop.index }}{{ b }}{% endfor %}{{ loop.index }}{% endfor %}",
    # macros and blocks
    "{% macro f(a, b=2, c=a) %}[{{ a }}{{ b }}{{ c }}]{% endmacro %}{{ f(1) }}{{ f(1, 3) }}{{ f(b=4, a=5) }}{{ f() }}{{ f('x')|upper }}",
    "{% set x %}  a{{ 1 }}\n b {% endset %}[{{ x }}]{{ x|length }}{% set y = f(1) if f is defined else 'no' %}{{ y }}",
    "{% macro g(n) %}{% if n %}{{ n }}{{ g(n - 1) }}{% endif %}{% endmacro %}{{ g(3) }}{% set z = 9 %}{% macro h() %}{{ z }}{% endmacro %}{{ h() }}",
    # filters and methods
    "{{ ' a '|trim }}|{{ 'xax'|trim('x') }}|{{ [1, 2]|join(', ') }}|{{ ['a', 'b']|join }}|{{ missing|default('d') }}|{{ ''|default('d', true) }}|{{ none|default('d') }}|{{ ''|d('e', boolean=true) }}",
    "{{ 'abc'|upper }}{{ 'ABC'|lower }}{{ 'aBC def'|capitalize }}{{ 'a-b'|replace('-', '+') }}{{ 'aaa'|replace('a', 'b', 2) }}{{ '12'|int }}{{ 'x'|int }}{{ 3.9|int }}{{ ' 4 '|int + 1 }}{{ 'x'|int(7) }}",
    "{{ [3, 1]|list }}{{ 'ab'|list }}{{ [1, 2]|reverse|list }}{{ 'ab'|reverse }}{{ 'a\\nb\\n\\nc'|indent }}|{{ 'a\\nb'|indent(2, true) }}|{{ 'a\\n\\nb'|indent(1, first=false, blank=true) }}",
    "{% set l = [{'r': 'a', 'n': 1}, {'r': 'b', 'n': 0}, {'n': 2}] %}{{ l|selectattr('r', 'equalto', 'a')|list }}{{ l|rejectattr('r', 'defined')|list }}{{ l|selectattr('n')|map(attribute='n')|list }}"
    "{{ l|map(attribute='r', default='-')|join('.') }}{{ [1, none, 2]|reject('none')|list }}{{ [0, 1]|select|list }}{{ ['a']|map('upper')|list }}{{ l|selectattr('r', '==', 'b')|first }}",
    "{{ {'a': [1, 'x\u00e9\"', none, true, 1.5], 'b': {}}|tojson }}{{ {'a': [1, {'b': []}]}|tojson(indent=2) }}{{ 'a\\tb\\u0001/'|tojson }}{{ []|tojson(indent=1) }}",
    "{{ 'a,b,,c'.split(',') }}{{ ' a  b '.split() }}{{ 'a b c'.split(' ', 1) }}{{ 'abc'.startswith('ab') }}{{ 'abc'.endswith(('x', 'c')) }}{{ 'xxaxx'.strip('x') }}{{ ' a '.lstrip() }}|{{ ' a '.rstrip() }}|",
    "{{ 'aXb'.lower() }}{{ 'axb'.upper() }}{{ 'hello world-x'.title() }}{{ 'hELLO'.capitalize() }}{{ 'its a-b (c) <d> e.f'|title }}{{ 'aab'.replace('a', 'c', 1) }}{{ ', '.join(['a', 'b']) }}{{ '\\u3000 a\\u00a0'.strip() }}|{{ '\\x1c a'|trim }}|",
    "{{ 'a,b,c'.rsplit(',', 1) }}{{ 'a,b'.rsplit(',') }}{{ 'abc'.rsplit('x', 2) }}{{ 'aaa'.rsplit('aa', 5) }}{{ 'héllo'.find('l') }}{{ 'a'.find('b') }}{{ 'a'.find('') }}"
    "{{ '{}-{}'.format(1, 'b') }}{{ '{1}{0}{{x}}{a}'.format('p', 'q', a=none) }}{{ ''.format() }}",
    "{{ [3, 1, 2]|sort }}{{ ['b', 'A', 'c']|sort }}{{ ['b', 'A']|sort(case_sensitive=true) }}{{ [1, 3]|sort(reverse=true) }}{{ [{'a': 2}, {'a': 1}]|sort(attribute='a') }}{{ {'b': 1, 'a': 2}|sort }}"
    "{{ [1, 2.5]|sum }}{{ []|sum }}{{ [{'a': 2}, {'a': 1}]|sum(attribute='a') }}{{ [1]|sum(start=3) }}",
    "{{ 2 ** 9 }} {{ 2 ** 3 ** 2 }} {{ -2 ** 2 }} {{ 2 ** -1 }} {{ 2.0 ** 3 }} {{ 3 * 2 ** 2 }} {{ 0 ** 0 }} {{ (-1) ** 3 }}",
    "{{ 'é'|upper }}{{ 'ÀÉ Я'.lower() }}{{ 'éa'.capitalize() }}{{ 'straÇe'|lower }}{{ 'привет'.upper() }}",
    "{% set a, b = 1, 'x' %}{{ a }}{{ b }}{% set c, d = [3, 4] %}{{ c }}{{ d }}",
    "a\n  {% raw %} {{ x }} {% if %}\n{# c #} {% endraw %}\nb {%- raw -%}  {{ y }}  {%- endraw -%}  c{% raw %}{% endraw %}d",
    # tests
    "{{ 1 is defined }}{{ x is undefined }}{{ none is none }}{{ 'a' is string }}{{ {} is mapping }}{{ [] is sequence }}{{ 'a' is iterable }}{{ 1 is iterable }}{{ 1 is number }}{{ true is integer }}{{ 1.5 is float }}"
    "{{ true is boolean }}{{ true is true }}{{ 1 is true }}{{ 3 is odd }}{{ 3 is even }}{{ 1 is not none }}{{ 1 is in [1] }}{{ 'a' is eq 'a' }}{{ 1 is ne(2) }}{{ x is not defined and y is not defined }}{{ {} is sequence }}",
    # what a message says
    "{{ messages[0].content }}|{{ messages[0]['content']|trim }}|{{ messages[0].content.strip()[0:4] }}|{{ messages[0].content|tojson }}|{{ messages[0].content.split('\\n')|join('+') }}|{{ messages|length }}"
    "|{{ messages[0]|tojson }}|{{ messages[0] }}|{{ messages[0].content|replace('you', messages[0].role) }}|{{ messages[0].content|upper|lower|title }}|{{ messages[0].content|indent(2, true) }}|{{ messages[0].content|reverse }}",
]
REFUSED = ["", "{{ 1 }}", "{% for m in messages %}{{ m.content }}{% endfor", "{{ messages[0].content", "{% if true %}", "{% endif %}", "{{ 'a }}", "{% for m in messages %}x{% endfor %}",
           "{% include 'x' %}", "{% call f() %}{% endcall %}", "{% filter upper %}{% endfilter %}", "{% for m in messages recursive %}{% endfor %}",
           "{{ messages|nothing }}", "{{ messages is nothing }}", "{{ nothing() }}", "{{ nothing.more }}", "{{ messages[0].content.encode() }}", "{{ messages.append(1) }}",
           "{{ ''.__class__ }}", "{{ f(*messages) }}", "{{ 1 + }}", "{{ a b }}", "{{ (1 }}", "{{ 1) }}", "{{ [1, }}", "{{ messages[] }}", "{% set x %}", "{% break %}", "{{ 'a' + 1 }}",
           "{{ 1 / 0 }}", "{{ 9223372036854775807 + 1 }}", "{{ 99999999999999999999 }}", "{{ raise_exception('no') }}", "{{ range(1000000) }}", "{{ cycler }}", "{% set messages.x = 1 %}",
           "{% for a, b in [[1]] %}{% endfor %}", "{% macro f() %}{% endmacro %}{{ f(1) }}", "{{ f }}{% macro f() %}{% endmacro %}{{ f }}", "{{ namespace(a=1) }}", "{{ '\\N{DASH}' }}", "{{ {1: 2} }}"]
CONVERSATIONS = [
    [("user", "Hi")],
    [("user", " Hello there! \n"), ("assistant", "Hello."), ("user", "Who are you?")],
    [("system", "Be brief."), ("user", "a\nb")],
    [("system", "Be brief."), ("user", "One"), ("assistant", " Two "), ("user", "Three"), ("assistant", "Four"), ("user", "F\u00fcnf")],
    [("user", "One"), ("assistant", "Two")],
    [("user", "One"), ("assistant", "<think>\nhm\n</think>\n\nTwo"), ("user", "Three")],
    [("system", ""), ("user", "")]]


def messages_of(conversation):
    return [{"role": role, "content": content} for role, content in conversation]


def rendered(template, messages):
    """The text, or None where the template raises an exception."""
    try:
        texts, _ = render_jinja_template([messages], chat_template=template, bos_token="<s>", eos_token="</s>",
                                         add_generation_prompt=messages[-1]["role"] == "user")
    except jinja2.exceptions.TemplateError:
        return None
    return texts[0]


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "tests/fixtures/tokenizers/smollm2"
    real = json.loads((folder / "tokenizer_config.json").read_text())["chat_template"]
    cases = [{"template": template, "messages": messages_of(conversation), "text": rendered(template, messages_of(conversation))}
             for template in TEMPLATES + [real] for conversation in CONVERSATIONS]
    message = messages_of([("user", " It's <b>\nyou </s> ")])
    rules = [{"template": template, "text": rendered(template, message)} for template in RULES]
    assert all(rule["text"] is not None for rule in rules)
    fixture = {"cases": cases, "rules": rules, "rules_messages": message, "refused": REFUSED}
    (ROOT / "tests/fixtures/chat.json").write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
