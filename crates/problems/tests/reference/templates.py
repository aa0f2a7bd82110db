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

# One line each: builtin filters, tests, statements, and the methods of texts, lists and dictionaries.
TEMPLATES += r"""
{{ -5 | abs }}{{ [1, 2, 3] | batch(2) | list }}{{ [1, 2, 3] | batch(2, 0) | list }}
{{ 'x' | attr('nope') is defined }}
{{ 'hELLO wORLD' | capitalize }}
{{ none | default('d') }}{{ none | default('d', true) }}{{ '' | d('e', boolean=true) }}
{% for k, v in {'b': 1, 'A': 2, 'c': 0} | dictsort %}{{ k }}{{ v }}{% endfor %}
{% for k, v in {'b': 1, 'A': 2, 'c': 0} | dictsort(false, 'value') %}{{ k }}{{ v }}{% endfor %}
{% for k, v in {'b': 1, 'A': 2, 'c': 0} | dictsort(true) %}{{ k }}{{ v }}{% endfor %}
{% for k, v in {'b': 1, 'A': 2} | dictsort(reverse=true) %}{{ k }}{{ v }}{% endfor %}
{{ '<a href="x">\'&' | escape }}{{ '<b>' | e }}{{ ('<b>' | safe) }}
{{ 1000 | filesizeformat }}{{ 5 | filesizeformat }}{{ 123456789 | filesizeformat(true) }}
{{ [] | first is defined }}{{ [5, 6] | first }}{{ [5, 6] | last }}{{ 'abc' | last }}
{{ '3.5' | float }}{{ 'x' | float }}{{ 'x' | float(1.5) }}{{ 3 | float }}
{{ '%s-%s' | format('a', 1) }}{{ '%(a)s' | format(a=5) }}{{ '%.2f|%5d|%-5s|%05d|%x' | format(3.14159, 42, 'ab', 7, 255) }}
{% for g in [{'a': 1, 'b': 2}, {'a': 1, 'b': 3}, {'a': 2, 'b': 4}] | groupby('a') %}{{ g.grouper }}:{{ g.list | map(attribute='b') | list }};{% endfor %}
{% for k, v in [{'a': 1, 'b': 2}, {'a': 2}] | groupby('b', default=0) %}{{ k }}{{ v | length }};{% endfor %}
{{ 'a\nb\n\nc' | indent }}{{ 'a\nb' | indent(2, true) }}{{ 'a\n\nb' | indent(2, false, true) }}{{ 'a\nb' | indent('> ') }}{{ 'a\nb' | indent(width=1, first=True) }}
{{ '12' | int }}{{ 'x' | int }}{{ 'x' | int(7) }}{{ '0x1f' | int(0, 16) }}{{ 3.99 | int }}{{ '3.9' | int }}{{ -3.9 | int }}
{{ [1, 2] | join }}{{ ['a', 'b'] | join(d='+') }}{{ 'abc' | join('.') }}
{{ 'abc' | list }}{{ {'a': 1} | list }}{{ 'ABC' | lower }}
{{ ['a', 'B'] | map('upper') | list }}
{{ ['  a ', 'b'] | map('trim') | join(',') }}{{ [1, 2] | map('string') | list }}{{ ['a-b'] | map('replace', '-', '_') | list }}
{{ [3, 1, 2] | max }}{{ [3, 1, 2] | min }}{{ ['b', 'A'] | min }}{{ ['b', 'A'] | min(case_sensitive=true) }}{{ [{'a': 1}, {'a': 5}] | max(attribute='a') }}{{ [] | max is defined }}
{{ [0, 1, '', 'a', none] | select | list }}{{ [1, 2, 3, 4] | select('even') | list }}{{ [1, 2, 3] | select('gt', 1) | list }}{{ [1, 2, 3] | select('in', [1, 3]) | list }}
{{ [0, 1, '', 'a', none] | reject | list }}{{ [1, 2, 3, 4] | reject('odd') | list }}{{ ['a', 1] | reject('string') | list }}
{{ messages | rejectattr('role', 'eq', 'system') | map(attribute='role') | list }}{{ messages | selectattr('name', 'undefined') | list | length }}{{ messages | selectattr('content') | list | length }}
{{ 'aaa' | replace('a', 'b', 2) }}{{ 'a.b' | replace('.', '') }}
{{ [1, 2, 3] | reverse | list }}{{ 'abc' | reverse }}
{{ 2.567 | round(1) }}{{ 2.5 | round }}{{ 3.5 | round }}{{ 42.7 | round(0, 'floor') }}{{ 42.1 | round(method='ceil') }}{{ 2.5 | round | int }}
{{ [1, 2, 3, 4, 5] | slice(2) | list }}{{ [1, 2, 3] | slice(2, 0) | list }}
{{ ['b', 'A', 'c'] | sort }}{{ ['b', 'A', 'c'] | sort(case_sensitive=true) }}{{ [{'a': 2}, {'a': 1}] | sort(attribute='a') | map(attribute='a') | list }}{{ [3, 1] | sort(true) }}{{ [3, 1] | sort(reverse=true) }}
{{ [1, 2, 3] | sum }}{{ [{'a': 1}, {'a': 2}] | sum(attribute='a') }}{{ [1, 2] | sum(start=10) }}{{ [1.5, 2] | sum }}
{{ 'hello wORLD foo-bar' | title }}{{ "it's o'clock" | title }}{{ 'x1a' | title }}
{{ '  a b ' | trim }}{{ 'xxaxx' | trim('x') }}
{{ [1, 2, 1, 3] | unique | list }}{{ ['a', 'A', 'b'] | unique | list }}{{ ['a', 'A'] | unique(case_sensitive=true) | list }}{{ [{'a': 1}, {'a': 1}] | unique(attribute='a') | list | length }}
{{ 'a b&c/d?é' | urlencode }}{{ {'a': 1, 'b': 'x y'} | urlencode }}{{ [('a', 1)] | urlencode }}
{{ {'a': [1, 'x']} | pprint }}{{ 'x' | pprint }}
{{ 'abc' | length }}{{ {'a': 1} | count }}{{ 'é€😀' | length }}
{{ [[1, 2], [3]] | sum(start=[]) }}
{{ 1 is odd }}{{ 2 is even }}{{ 6 is divisibleby 3 }}{{ 6 is divisibleby(4) }}{{ none is none }}{{ 1 is number }}{{ 'a' is string }}{{ true is boolean }}{{ 1 is integer }}{{ 1.0 is float }}{{ [] is iterable }}{{ {} is mapping }}{{ [] is sequence }}{{ 'a' is sequence }}{{ {} is sequence }}{{ 'abc' is iterable }}{{ true is true }}{{ false is false }}{{ 1 is true }}
{{ 'a' is lower }}{{ 'A' is upper }}{{ 1 is sameas 1 }}{{ none is sameas none }}{{ 1 is eq 1 }}{{ 1 is ne 2 }}{{ 1 is lt 2 }}{{ 1 is le 1 }}{{ 2 is gt 1 }}{{ 2 is ge 2 }}{{ 1 is in [1] }}{{ 'upper' is filter }}{{ 'nope' is filter }}{{ 'odd' is test }}{{ range is callable }}{{ 1 is callable }}{{ raise_exception is callable }}{{ 'a' is escaped }}
{{ 'a' is not none }}{{ xyz is not defined }}{{ xyz is undefined }}{{ not true }}{{ 1 is not string }}
{{ true is number }}{{ true is integer }}{{ 1 is boolean }}
{{ {'a': 1}.values() | list }}{{ {'a': 1}.keys() | list }}
{{ {'a': 1}.get('a') }}{{ {'a': 1}.get('b', 5) }}{{ {'a': 1}.a }}
{{ {'a': 1} == {'a': 1} }}{{ [1] == [1.0] }}{{ 1 == 1.0 }}{{ 'a' == 'a' }}{{ none == false }}{{ 1 == true }}{{ 0 == false }}
{% for x in [1, 2, 3] %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.cycle('a', 'b') }}{{ loop.previtem }}{{ loop.nextitem }}{{ loop.depth }}{{ loop.changed(x) }} {% endfor %}
{% for x in [] %}a{% else %}empty{% endfor %}{% for x in [1, 2, 3] if x > 1 %}{{ x }}{{ loop.index }}{% endfor %}
{% for x in [1, 2, 3] %}{% if x == 2 %}{% continue %}{% endif %}{{ x }}{% endfor %}{% for x in [1, 2, 3] %}{% if x == 2 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in [[1, [2]], [3]] recursive %}{{ x if x is not iterable else '[' ~ loop(x) ~ ']' }}{% endfor %}
{% set x = 5 %}{% if true %}{% set x = 6 %}{% endif %}{{ x }}{% for i in [1] %}{% set x = 7 %}{% endfor %}{{ x }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set (c, d) = [3, 4] %}{{ c }}{{ d }}
{% set x %}abc {{ 1 }}{% endset %}{{ x | upper }}{% set y | upper %}abc{% endset %}{{ y }}
{% filter upper %}abc{% endfilter %}{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}
{% macro f(a) %}[{{ caller(a) }}]{% endmacro %}{% call(x) f(5) %}got {{ x }}{% endcall %}
{% macro f(a) %}{{ f.name }}{{ a is defined }}{% endmacro %}{{ f() }}
{% raw %}{{ x }}{% endraw %}{# c #}x{#- d -#} y
{{ 'a' if false }}{{ 'a' if false else 'b' }}{{ (none or 'x') }}{{ ('' or none) }}{{ (1 and 2) }}{{ [] or 'e' }}
{{ 'abc'[0] }}{{ 'abc'[-1] }}{{ 'abc'[::-1] }}{{ 'abcdef'[1:-1:2] }}{{ [1, 2, 3][-2:] }}{{ [1, 2, 3][:-1] }}{{ (1, 2, 3)[0] }}{{ 'abc'[5:] }}
{{ 1 + 2 * 3 - 4 / 2 }}{{ 7 // 2 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 2 ** 10 }}{{ 7.5 // 2 }}{{ 1 / 3 }}{{ 10 / 5 }}{{ 1e3 }}{{ 1_000 }}
{{ 1 < 2 < 3 }}{{ 1 < 3 > 2 }}{{ 'a' < 'b' }}{{ [1, 2] < [1, 3] }}{{ 1 != 2 }}{{ 1 <= 1 }}
{{ 'a' in ['a'] }}{{ 'x' not in 'abc' }}{{ 'a' in {'a': 1} }}{{ 1 in (1, 2) }}
{{ [1] + [2] }}{{ [0] * 3 }}{{ 'a' ~ 5 ~ [1] }}{{ "a" "b" }}
{{ 'a,b'.split(',') }}{{ 'a b'.split() }}{{ 'abc'.split('x') }}{{ 'a,b,c'.split(',', maxsplit=1) }}{{ 'a\nb'.split('\n')[0] }}{{ 'a</think>b'.split('</think>')[-1].lstrip('\n') }}
{{ 'Abc'.lower() }}{{ 'abc'.upper() }}{{ 'abc'.capitalize() }}{{ 'a b'.title() }}{{ "it's".title() }}{{ ' a '.strip() }}{{ 'xax'.strip('x') }}{{ '\n\na\n'.lstrip('\n') }}{{ '\n\na\n'.rstrip('\n') }}{{ 'abcx'.rstrip('xc') }}
{{ 'abc'.startswith('a') }}{{ 'abc'.endswith('c') }}{{ 'abc'.startswith(('x', 'a')) }}{{ 'abc'.endswith(('x', 'y')) }}{{ 'abc'.startswith('b', 1) }}{{ 'abc'.startswith('b', 1, 2) }}{{ 'abc'.endswith('b', 0, 2) }}
{{ 'abcabc'.find('c') }}{{ 'abcabc'.find('c', 3) }}{{ 'abcabc'.find('a', 1, 3) }}{{ 'abcabc'.rfind('a') }}{{ 'abcabc'.rfind('c', 0, 4) }}{{ 'abcabc'.index('b', 2) }}{{ 'abcabc'.count('bc') }}{{ 'aaa'.count('a', 1) }}{{ 'éab'.find('a') }}
{{ 'a-b-c'.replace('-', '+') }}{{ 'a-b-c'.replace('-', '+', 1) }}{{ 'abc'.replace('', '.') }}{{ 'x'.join(['a', 'b']) }}{{ ', '.join(messages | map(attribute='role')) }}{{ ''.join(['a']) }}
{{ 'a\nb\r\nc'.splitlines() }}{{ 'a\nb\n'.splitlines(true) }}{{ 'a\nb'.splitlines(keepends=True) }}
{{ 'abc'.isalpha() }}{{ 'a1'.isalpha() }}{{ '12'.isnumeric() }}{{ 'a1'.isalnum() }}{{ ' '.isspace() }}{{ 'abc'.islower() }}{{ 'ABC'.isupper() }}{{ 'Ab Cd'.istitle() }}{{ 'a_1'.isidentifier() }}{{ '1a'.isidentifier() }}{{ 'abc'.isascii() }}{{ 'é'.isascii() }}{{ 'a\n'.isprintable() }}{{ '½'.isdecimal() }}{{ '½'.isnumeric() }}{{ '²'.isdigit() }}{{ '²'.isdecimal() }}{{ ''.isalpha() }}
{{ '{} {}'.format('a', 1) }}{{ '{0}{1}{0}'.format('a', 'b') }}{{ '{x}'.format(x=5) }}{{ '{:.2f}'.format(3.14159) }}{{ '{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c') }}{{ '{:05d}'.format(42) }}{{ '{:,}'.format(1234567) }}{{ '{0[a]}'.format({'a': 3}) }}{{ '{:*^9}'.format('ab') }}{{ '{:+d}'.format(5) }}
{{ 'straße'.casefold() }}{{ 'ß'.upper() }}{{ 'ΑΣ'.lower() }}{{ 'İ'.lower() | length }}
{{ 'a\tb'.expandtabs() }}
{{ [1, 2].copy() }}{{ {'a': 1}.copy() }}
{{ range(5) | list }}{{ range(1, 5) | list }}{{ range(5, 0, -2) | list }}{{ range(3) | length }}{{ range(3)[1] }}
{{ dict(a=1, b=2) }}{{ dict(a=1).a }}{{ namespace(a=1).a }}
{{ none }}{{ true }}{{ false }}{{ None }}{{ True }}{{ False }}
{{ "a\"b'c" }}{{ 'a\\b' }}{{ '\u00e9\x41' }}{{ 'a\tb' }}
{{ ['é', 'a\n', "b'"] }}{{ 1.0e10 }}{{ 0.1 + 0.2 }}{{ 100000000000000000000 }}{{ 1.5e300 * 1e10 }}{{ -0.0 }}
{{ messages[0].content.split('<')[0] }}{{ messages[-1]['content'].strip().split('\n') | length }}{{ messages[0]['nope'] is defined }}{{ messages[0].nope is none }}{{ messages[0].nope }}
{{ messages | length - 1 }}{{ (messages | last).role }}{{ messages[0:1] | map(attribute='role') | join }}{{ messages | map(attribute='role') | unique | list }}
{%- for m in messages -%}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{%- endfor -%}
{{ bos_token + 'a' }}{{ eos_token is defined }}{{ bos_token is string }}
{%- set ns = namespace(last=-1, found=false) %}{%- for m in messages[::-1] %}{%- set index = (messages|length - 1) - loop.index0 %}{%- if not ns.found and m.role == "user" %}{%- set ns.found = true %}{%- set ns.last = index %}{%- endif %}{%- endfor %}{{ ns.last }}
{{ messages[0].content is string }}{{ messages[0] is mapping }}{{ messages is iterable and messages is not string and messages is not mapping }}
{%- macro render(x) -%}{%- if x is mapping -%}{%- for k in x -%}{{ k }}={{ x[k] | tojson }};{%- endfor -%}{%- endif -%}{%- endmacro -%}{{ render({'a': 'b', 'c': [1]}) }}
{{ documents | default(none) is none }}{{ tools is not none and tools | length > 0 }}
{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{{ loop_messages | length }}{{ system_message | length }}
{{ '\n' ~ 'x' | trim ~ '\n' }}{{ ('a' ~ 'b') | upper }}{{ 'a' + ('b' | upper) }}
{{ messages[0].content | safe }}{{ '<|a|>' | e }}
{{ [1, 2, 3, 4] | batch(3, '-') | map('join', ',') | join(';') }}
{{ ({'a': 1} | tojson) is string }}{{ 'é\u2028' | tojson }}{{ '/' | tojson }}{{ '\x07' | tojson }}{{ '\x7f' | tojson }}
{% set x = {'type': ['string', 'null']} %}{{ x.type is string }}{{ x.type | join(' | ') }}{{ x['type'] is iterable }}{{ x.type[0] }}
{{ (x | default({})).y is defined }}
{{ messages[0].tool_calls is defined and messages[0].tool_calls }}{{ messages[0].tool_calls | default([]) | length }}{{ not messages[0].tool_calls }}
{{ strftime_now is defined }}{{ date_string is defined }}{{ 'raise_exception' is defined }}
{{ 'abc' | select('ne', 'b') | join }}{{ [1, [2, 3]] | first }}{{ 'x' in xyz }}
{{ 'a' | center(3) }}{{ 'foo bar' | wordcount }}{{ 5 | string | length }}
{% autoescape false %}{{ '<' }}{% endautoescape %}
{{ 'a' is eq('a') }}{{ 3 is divisibleby(3) }}{{ [1, 2] is sequence }}{{ 'Ab' is lower }}
{{ [3, 2] | tojson }}{{ (3, 2) | tojson }}{{ {'a': (1, 2)} | tojson }}{{ 'a' | tojson | length }}
{{ 255 | string }}{{ 2.0 | int | string }}{{ '5' | int + 5 }}{{ '5' ~ 5 }}{{ 5 | float | string }}{{ 1e16 | string }}{{ 123456.789 }}{{ 1e15 }}{{ 1e-5 }}
{{ ['a', 'b'] | map('length') | sum }}{{ [1, 2, 3] | map('float') | list }}{{ [{'n': 1}] | map('tojson') | join }}{{ [[1, 2]] | map('first') | list }}{{ [[1, 2]] | map('last') | list }}{{ ['a'] | map('default', 'x') | list }}
{{ [1, none, 2] | select('none') | list }}{{ [1, none, 2] | reject('none') | list }}{{ [1, none] | select('defined') | list }}{{ ['a', 1] | select('number') | list }}
{{ loop is defined }}{{ super is defined }}{{ caller is defined }}{{ varargs is defined }}
{% block a %}x{% endblock %}{{ self.a() }}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}{{ b }}{% endfor %}{% for k in {'x': 1} %}{{ k }}{% endfor %}{% for c in 'ab' %}{{ c }}{% endfor %}
{% for i in range(3) %}{{ i }}{% if not loop.last %},{% endif %}{% endfor %}{% for i in [1, 2] | reverse %}{{ i }}{% endfor %}{% for m in messages | reverse %}{{ m.role }}{% endfor %}
{% if 1 %}a{% elif 2 %}b{% else %}c{% endif %}{% if not 1 %}a{% elif 0 %}b{% else %}c{% endif %}{%+ if true +%} x {%+ endif +%}
  {% if true %}  a  {% endif %}  
  {%- if true -%}  a  {%- endif -%}  b
{{ 'x' }}
{{ 'x' -}}
{% set x = 1 -%}   y{{- x }}
line
{{ messages[0]['content'][:5] }}{{ messages[0].content[3:9] }}{{ 'naïve'[2:4] }}{{ 'naïve'.index('v') }}{{ 'naïve'.find('v') }}
{{ messages[0].content | replace('<', '[') | replace('>', ']') }}{{ messages[0].content.replace('"', '\\"') }}
{{ {'a': none, 'b': undefined_thing} | tojson if false else 'ok' }}{{ undefined_thing | default('u') }}{{ undefined_thing | length }}{{ undefined_thing | list }}{{ undefined_thing | join }}
{{ (undefined_thing is defined and undefined_thing.x) or 'n' }}{% for x in undefined_thing %}a{% else %}e{% endfor %}{{ undefined_thing == undefined_other }}{{ undefined_thing ~ 'a' }}
{{ [1, 2, 3] | length == 3 }}{{ (messages | length) % 2 == 0 }}{{ 5 % 2 == 1 }}{{ loop0 is defined }}
{{ '' if messages[0].content else 'x' }}{{ messages[0].content and 'y' }}{{ 0 or none }}
{{ [['a', 1], ['b', 2]] | map(attribute=0) | list }}{{ [['a', 1]] | map(attribute='1') | list }}{{ {'a': [1, 2]}.a.0 }}{{ [1, 2].1 }}
{{ ({'a': 1}.items() | list)[0][0] }}{{ dict({'a': 1}, b=2) }}
{{ 'abc' | map('upper') | list }}{{ 'a,b' | replace(',', '\n') }}{{ 'ab' | batch(1) | list }}
{{ 'a' * 3 }}{{ 3 * 'a' }}{{ [1] * 2 }}{{ '-' * 0 }}{{ 'a' < 'B' }}{{ 'a' == 1 }}{{ none is string }}
{{ 7 | round(2) }}{{ 7.0 }}{{ 7.10 }}{{ (7.126 | round(2)) ~ '' }}{{ 1234.5 | round(-2) }}{{ 5 / 2 | int }}
""".strip("\n").split("\n")
TEMPLATES += [
    "a\n{% if true %}\nb\n{% endif %}\n\nc {{ 'd' }}\n",
    "  {# c #}\n a\n",
    "{%- macro f() %}\n  a\n  {%- endmacro %}\n{{ f() }}\n",
    "{{ messages[0].role\n  ~ 'x' }}",
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
