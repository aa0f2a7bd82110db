"""Drives a service with the openai package from PyPI: chat, streams, n, logprobs, errors."""

import sys

import openai

client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="secret", max_retries=0)
model = client.models.list().data[0].id
question = [{"role": "user", "content": "Given a list of integers, keep the positive values."}]

# A client that knows nothing of us gets a checked answer, and finds the reason beside it.
reply = client.chat.completions.create(model=model, messages=question, seed=1, logprobs=True)
assert reply.choices[0].message.content.startswith("```python\n"), reply
assert reply.choices[0].finish_reason == "stop", reply
assert reply.usage.completion_tokens > 0, reply
assert reply.choices[0].logprobs.content[0].logprob <= 0, reply
assert reply.ncomp["status"] == "unverified", reply
assert 0 < reply.ncomp["evidence"]["probability"] < 1, reply

# The best and the next best.
two = client.chat.completions.create(
    model=model, messages=question, n=2, seed=1, extra_body={"ncomp": {"candidates": 12}}
)
assert [choice.index for choice in two.choices] == [0, 1], two
assert two.choices[0].message.content != two.choices[1].message.content, two

# Streams: checked, and as the model writes.
for candidates in [6, 1]:
    stream = client.chat.completions.create(
        model=model, messages=question, seed=2, max_tokens=60, stream=True,
        stream_options={"include_usage": True}, extra_body={"ncomp": {"candidates": candidates}},
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert "def " in text, text
    assert chunks[-1].usage.completion_tokens > 0, chunks[-1]
    assert any(c.choices and c.choices[0].finish_reason for c in chunks), chunks

# Plain completions.
plain = client.completions.create(model=model, prompt="def f(items):\n", n=3, max_tokens=12, logprobs=1, seed=3)
assert len(plain.choices) == 3, plain
assert len(plain.choices[0].logprobs.tokens) == len(plain.choices[0].logprobs.token_logprobs), plain

# Errors are the package's own.
try:
    client.chat.completions.create(model=model, messages=question, temperature=7)
    raise SystemExit("a temperature of 7 was accepted")
except openai.BadRequestError as error:
    assert error.param == "temperature", error
try:
    openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="wrong", max_retries=0).models.list()
    raise SystemExit("a wrong key was accepted")
except openai.AuthenticationError:
    pass
print("ok")
