"""Writes templates.json: what transformers makes of chat templates, for ../chat_template.rs.

    python templates.py > templates.json

Made with transformers 5.24.0 and Jinja2 as it requires it.
"""
import json
import sys

from transformers.utils.chat_template_utils import _compile_jinja_template

MESSAGES = [
    {"role": "system", "content": "Be <brief> & 'good' — naïve \"x\"."},
    {"role": "user", "content": "hello\n\tworld"},
]
TEMPLATES = [
    "{% if tools is defined %}defined{% endif %}{% if tools is none %} none{% endif %}{{ tools }}",
    "{% if documents %}a{% else %}b{% endif %}{{ documents is none }}{{ xyz is defined }}{{ xyz }}",
    "{{ messages | tojson }}",
    "{{ messages[0] | tojson(indent=2) }}",
    "{{ messages | tojson(indent=4) }}",
    "{{ {'b': 1, 'a': [1, 2.5, none, true], 'c': {}, 'd': []} | tojson }}",
    "{{ {'b': 1, 'a': [1, 2.5]} | tojson(sort_keys=true) }}",
    "{{ {'b': [1, {}], 'a': []} | tojson(indent=3) }}",
    "{{ {'b': 1, 'a': [1, 2]} | tojson(separators=(',', ':')) }}",
    "{{ 'naïve €😀' | tojson(ensure_ascii=true) }}{{ 'naïve €😀' | tojson }}",
    "{{ '<a> & \\'b\\' \"c\" \\n\\t' | tojson }}",
    "{{ {1: 2, none: 3} | tojson }}{{ 1e16 | tojson }}{{ 1.0 | tojson }}",
    "{{ messages }}",
    "{{ ['a', \"it's\", 1, 1.5, true, none, {'k': ['v']}] }}",
    "{{ {'a': 1} }}{{ {} }}{{ [] }}{{ none }}{{ true }}{{ 1.0 }}{{ 1e20 }}{{ 1e-7 }}",
    "{{ ['a', 'b'] | string }}|{{ {'a': none} | string }}|{{ none | string }}|{{ 5 | string }}",
    "{{ [1, none, ['a'], true] | join('-') }}",
    "{{ [{'a': 1}, {'a': 2}] | join(', ', attribute='a') }}",
    "{{ 'a,b,c'.rsplit(',', 1) }}{{ ' a  b c '.rsplit() }}{{ ' a  b c '.rsplit(none, 1) }}",
    "{{ 'a,b,c'.split(',', 1) }}{{ ' a  b c '.split() }}{{ 'a--b'.split('--')[-1] }}",
    "{{ '7'.zfill(3) }}{{ '-7'.zfill(4) }}{{ 'abcd'.zfill(2) }}",
    "{{ 'ab'.center(5) }}|{{ 'ab'.center(7, '*') }}|{{ 'abc'.center(6) }}|{{ 'a'.ljust(3) }}|{{ 'a'.rjust(3, '.') }}",
    "{{ 'a=b=c'.partition('=') | list }}{{ 'a=b=c'.rpartition('=') | list }}{{ 'abc'.partition('=') | list }}",
    "{{ 'abcabc'.removeprefix('abc') }}{{ 'abcabc'.removesuffix('bc') }}{{ 'abc'.removeprefix('x') }}",
    "{{ 'aBc'.swapcase() }}{{ 'ABC'.casefold() }}{{ 'hello world'.title() }}{{ 'hELLO'.capitalize() }}",
    "{{ 'abcb'.index('b') }}{{ 'abcb'.rindex('b') }}{{ 'abcb'.find('x') }}{{ 'abcb'.rfind('b') }}{{ 'abcb'.count('b') }}",
    "{{ 'a\\tb'.expandtabs(4) }}|{{ '12'.isdigit() }}{{ '12'.isdecimal() }}{{ 'a1'.isalnum() }}{{ ''.isdecimal() }}",
    "{{ [1, 2, 3].index(2) }}{{ [1, 2, 2].count(2) }}",
    "{{ 'ab' | center(6) }}|{{ '<p>a  b</p> c' | striptags }}|{{ 'a b, c' | wordcount }}|{{ 'a<b' | forceescape }}",
    "{{ 'hello world foo' | truncate(9) }}{{ 'hello world foo' | truncate(9, true, '!') }}|{{ 'abc' | upper }}|{{ ' a ' | trim }}|{{ 'a' | default('b') }}",
    "{% for m in messages %}{{ m['role'] }}:{{ m.content | trim }};{{ loop.last }}{% endfor %}",
    "{% for k, v in messages[0].items() %}{{ k }}={{ v | length }} {% endfor %}{{ messages[0].keys() | list }}",
    "{% set ns = namespace(a=1) %}{% for m in messages %}{% set ns.a = ns.a + 1 %}{% endfor %}{{ ns.a }}",
    "{{ messages | selectattr('role', 'equalto', 'user') | map(attribute='content') | list }}",
    "{{ messages[::-1][0].role }}{{ messages[1:] | length }}{{ 'abc'[1:] }}{{ 'abc'[-1] }}",
    "{{ 'x' if messages[0].role == 'system' else 'y' }}{{ 7 // 2 }}{{ 7 / 2 }}{{ 7 % 3 }}{{ 2 ** 3 }}",
    "{{ 'a' ~ 1 ~ none ~ true }}{{ 'a' + 'b' }}{{ 'ab' * 2 }}{{ 'a' in 'abc' }}{{ 'role' in messages[0] }}",
    "{% macro f(x, y='z') %}{{ x }}{{ y }}{% endmacro %}{{ f('a') }}{{ f('b', y='c') }}",
    "{{ bos_token }}{{ messages | length }}{{ add_generation_prompt }}",
    "a\n  {%- if true %}\n  b\n  {% endif %}\nc\n{#- note -#}\n d\n",
    "{% for k, v in {'b': 1, 'a': 2} | dictsort %}{{ k }}{{ v }}{% endfor %}{{ [3, 1, 2] | sort }}{{ [1, 1, 2] | unique | list }}{{ 'abc' | first }}",
    "{{ messages[0].get('name', 'none') }}{{ messages[0].get('x') }}{{ messages[5] is defined }}",
    "{{ 'a b c'.replace('b', 'x') }}{{ 'a\\nb'.splitlines() }}{{ '  x '.strip() }}{{ 'xxa'.lstrip('x') }}{{ 'abc'.startswith(('x', 'a')) }}",
    "{{ '%s is %d' | format('a', 5) }}{{ '{} {}'.format('a', 'b') }}{{ 3.7 | int }}{{ 3.14159 | round(2) }}{{ '5' | int + 1 }}",
    "{{ (1, 2) | list }}{{ range(3) | list }}{{ [1, 2] + [3] }}{{ 'abc' | list }}{{ 'abc' | reverse }}",
]

cases = []
for template in TEMPLATES:
    context = {"messages": MESSAGES, "tools": None, "documents": None, "add_generation_prompt": True,
               "enable_thinking": False, "bos_token": "<s>"}
    try:
        text = _compile_jinja_template(template).render(**context)
    except Exception as error:
        print(template, repr(error), file=sys.stderr)
        continue
    cases.append({"template": template, "text": text})
json.dump({"messages": MESSAGES, "cases": cases}, sys.stdout, indent=1, ensure_ascii=False)
print()
