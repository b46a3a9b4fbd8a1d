"""Asks the services' own client libraries whether the fake model services are right.

Usage: check_models.py PATH-OF-FAKE-MODELS [unittest options]

Everything that the fake sends, live or recorded in testdata/models, has to be valid by the libraries'
own types: strictly, with nothing missing and nothing unknown.
"""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path

import anthropic
import openai
import pydantic
from anthropic.types import Message, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.shared import ErrorObject

RECORDED = Path(__file__).resolve().parents[2] / "testdata" / "models"
PROMPT = [{"role": "user", "content": "Tell me [[answer: Grüße aus Köln und Zürich]]"}]
ANSWER = "Grüße aus Köln und Zürich"


class Recipe(pydantic.BaseModel):
    """What is asked for where the answer has to have a structure."""

    dish: str
    minutes: int


RECIPE = json.dumps({"dish": "soup", "minutes": 25})
ASK_RECIPE = [{"role": "user", "content": f"A recipe [[answer: {RECIPE}]]"}]


def valid(kind, text):
    """The text as this type: strictly, and without a field that the type does not know."""
    value = pydantic.TypeAdapter(kind).validate_json(text, strict=True)
    unknown = list(extras(value, ""))
    if unknown:
        raise ValueError(f"{kind} knows no {', '.join(unknown)}")
    return value


def extras(value, path):
    """The paths of fields that a type does not know."""
    if isinstance(value, pydantic.BaseModel):
        yield from (f"{path}.{name}" for name in value.model_extra or {})
        for name in type(value).model_fields:
            yield from extras(getattr(value, name), f"{path}.{name}")
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from extras(item, f"{path}[{index}]")


def events(text):
    """The (name, data) of the events of a stream."""
    for block in text.split("\n\n"):
        lines = [line.partition(": ") for line in block.splitlines()]
        fields = {name: content for name, _, content in lines}
        if "data" in fields:
            yield fields.get("event"), fields["data"]


class Live(unittest.TestCase):
    """A test that asks the running fake."""

    url: str

    def openai(self, key="key"):
        client = openai.OpenAI(api_key=key, base_url=f"{self.url}/v1", max_retries=0)
        self.addCleanup(client.close)
        return client

    def anthropic(self, key="key"):
        client = anthropic.Anthropic(api_key=key, base_url=self.url, max_retries=0)
        self.addCleanup(client.close)
        return client

    def chat(self, model, key="key", **options):
        return self.openai(key).chat.completions.create(model=model, messages=PROMPT, **options)

    def message(self, model, key="key", **options):
        options = {"messages": PROMPT, "max_tokens": 100, **options}
        return self.anthropic(key).messages.create(model=model, **options)


class Checks(unittest.TestCase):
    """The checks themselves can fail."""

    def test_what_is_missing_unknown_or_of_another_type_is_found(self):
        good = json.loads((RECORDED / "openai/reply.json").read_text())
        valid(ChatCompletion, json.dumps(good))
        usage = good["usage"]
        for bad in (
            {name: good[name] for name in good if name != "id"},
            {**good, "created": "yesterday"},
            {**good, "colour": "red"},
            {**good, "usage": {**usage, "price": 1}},
            {**good, "choices": [{**good["choices"][0], "finish_reason": "tired"}]},
        ):
            with self.assertRaises(ValueError):
                valid(ChatCompletion, json.dumps(bad))


class Recorded(unittest.TestCase):
    """The files that other tests use."""

    def each(self, service, pattern, check):
        files = sorted((RECORDED / service).glob(pattern))
        self.assertGreater(len(files), 3)
        for file in files:
            with self.subTest(file=f"{service}/{file.name}"):
                check(file.name, file.read_text())

    def test_openai(self):
        def check(name, text):
            if name.startswith("error"):
                valid(ErrorObject, json.dumps(json.loads(text)["error"]))
            else:
                valid(ChatCompletion, text)

        self.each("openai", "*.json", check)

    def test_openai_streams(self):
        def check(name, text):
            datas = [data for _, data in events(text)]
            match name:
                case "stream-truncated.sse":
                    with self.assertRaises(ValueError):
                        json.loads(datas.pop())
                case "stream-error.sse":
                    valid(ErrorObject, json.dumps(json.loads(datas.pop())["error"]))
                case _:
                    self.assertEqual(datas.pop(), "[DONE]")
            self.assertGreater(len(datas), 1)
            for data in datas:
                valid(ChatCompletionChunk, data)

        self.each("openai", "*.sse", check)

    def test_anthropic(self):
        def check(name, text):
            valid(ErrorResponse if name.startswith("error") else Message, text)

        self.each("anthropic", "*.json", check)

    def test_anthropic_streams(self):
        def check(name, text):
            pairs = list(events(text))
            match name:
                case "stream-truncated.sse":
                    with self.assertRaises(ValueError):
                        json.loads(pairs.pop()[1])
                case "stream-error.sse":
                    event, data = pairs.pop()
                    self.assertEqual(event, "error")
                    valid(ErrorResponse, data)
                case _:
                    self.assertEqual(pairs[-1][0], "message_stop")
            self.assertEqual(pairs[0][0], "message_start")
            for event, data in pairs:
                self.assertEqual(json.loads(data)["type"], event)
                if event != "ping":
                    valid(RawMessageStreamEvent, data)

        self.each("anthropic", "*.sse", check)


class OpenAI(Live):
    """What the library `openai` makes of it."""

    def test_an_answer(self):
        create = self.openai().chat.completions.with_raw_response.create
        raw = create(model="fake", messages=PROMPT, temperature=0.7, max_tokens=500)
        self.assertTrue(raw.request_id.startswith("req_"))
        reply = valid(ChatCompletion, raw.text)
        self.assertEqual(raw.parse(), reply)
        self.assertEqual(reply.choices[0].message.content, ANSWER)
        self.assertEqual(reply.choices[0].finish_reason, "stop")
        usage = reply.usage
        self.assertEqual(usage.total_tokens, usage.prompt_tokens + usage.completion_tokens)
        self.assertGreater(usage.completion_tokens, 0)

    def test_a_stream(self):
        for model in ("fake", "fake-choppy"):
            options = {"stream_options": {"include_usage": True}}
            stream = self.openai().chat.completions.stream(model=model, messages=PROMPT, **options)
            with stream as seen:
                deltas = [event.delta for event in seen if event.type == "content.delta"]
            reply = seen.get_final_completion()
            self.assertGreater(len(deltas), 3)
            self.assertEqual("".join(deltas), ANSWER)
            self.assertEqual(reply.choices[0].message.content, ANSWER)
            self.assertEqual(reply.choices[0].finish_reason, "stop")
            self.assertEqual(reply.usage, self.chat("fake").usage)

    def test_usage_is_streamed_only_on_demand(self):
        for wanted in (False, True):
            options = {"stream_options": {"include_usage": True}} if wanted else {}
            chunks = list(self.chat("fake", stream=True, **options))
            self.assertEqual(chunks[-1].usage is not None, wanted)
            self.assertEqual(chunks[-1].choices == [], wanted)
            self.assertTrue(all(chunk.usage is None for chunk in chunks[:-1]))

    def test_why_answers_end(self):
        for model, reason in (
            ("fake-length", "length"),
            ("fake-filtered", "content_filter"),
            ("fake-empty", "stop"),
        ):
            self.assertEqual(self.chat(model).choices[0].finish_reason, reason)
            chunks = list(self.chat(model, stream=True))
            self.assertEqual(chunks[-1].choices[0].finish_reason, reason)
        self.assertEqual(self.chat("fake-empty").choices[0].message.content, "")
        self.assertEqual(self.chat("fake", max_tokens=2).choices[0].finish_reason, "length")

    def test_structure(self):
        completions = self.openai().chat.completions
        options = {"model": "fake", "messages": ASK_RECIPE, "response_format": Recipe}
        reply = completions.parse(**options)
        self.assertEqual(reply.choices[0].message.parsed, Recipe(dish="soup", minutes=25))
        with completions.stream(**options) as stream:
            reply = stream.get_final_completion()
        self.assertEqual(reply.choices[0].message.parsed, Recipe(dish="soup", minutes=25))
        sample = completions.parse(**{**options, "messages": PROMPT})
        self.assertIsInstance(sample.choices[0].message.parsed, Recipe)
        options["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "open", "strict": True, "schema": {"type": "object"}},
        }
        with self.assertRaises(openai.BadRequestError):
            completions.create(**options)

    def test_errors(self):
        for model, kind, status, code in (
            ("fake-refused", openai.NotFoundError, 404, "model_not_found"),
            ("fake-429", openai.RateLimitError, 429, "rate_limit_exceeded"),
            ("fake-529", openai.InternalServerError, 529, None),
            ("fake-500-once", openai.InternalServerError, 500, None),
        ):
            with self.assertRaises(kind) as caught:
                self.chat(model, seed=1)
            error = caught.exception
            self.assertEqual((error.status_code, error.code), (status, code))
            valid(ErrorObject, json.dumps(error.body))
        self.assertEqual(self.chat("fake-500-once", seed=1).choices[0].message.content, ANSWER)
        with self.assertRaises(openai.RateLimitError) as caught:
            self.chat("fake-429-after")
        self.assertEqual(caught.exception.response.headers["retry-after"], "1")

    def test_keys(self):
        with self.assertRaises(openai.AuthenticationError) as caught:
            self.chat("fake", key="bad-key-42")
        self.assertEqual(caught.exception.code, "invalid_api_key")
        self.assertIn("bad-key-42", caught.exception.message)
        with self.assertRaises(openai.AuthenticationError) as caught:
            self.chat("fake", extra_headers={"Authorization": openai.omit})
        self.assertEqual(caught.exception.code, None)

    def test_reasoning_models_refuse_what_they_refuse(self):
        for option, code in (
            ({"temperature": 0.7}, "unsupported_value"),
            ({"max_tokens": 5}, "unsupported_parameter"),
        ):
            with self.assertRaises(openai.BadRequestError) as caught:
                self.chat("gpt-5-nano", **option)
            self.assertEqual(caught.exception.code, code)
            self.assertEqual(caught.exception.param, *option)
        self.chat("gpt-5-nano", max_completion_tokens=100)

    def test_broken_answers(self):
        with self.assertRaises(openai.APIConnectionError):
            self.chat("fake-cut")
        with self.assertRaises(openai.APIConnectionError):
            list(self.chat("fake-cut", stream=True))
        with self.assertRaises(openai.APIError):
            list(self.chat("fake-midway", stream=True))
        for model in ("fake-truncated", "fake-not-json"):
            with self.assertRaises(ValueError):
                self.chat(model)
        with self.assertRaises(ValueError):
            list(self.chat("fake-not-json", stream=True))
        # The library passes over an event that has no end: nobody is told why the answer ended.
        chunks = list(self.chat("fake-truncated", stream=True))
        self.assertEqual({chunk.choices[0].finish_reason for chunk in chunks}, {None})
        self.assertEqual(type(self.chat("fake-html")), str)

    def test_large_and_endless_answers(self):
        self.assertGreater(len(self.chat("fake-huge").choices[0].message.content), 5_000_000)
        with self.chat("fake-endless", stream=True) as stream:
            self.assertEqual(sum(1 for _, _ in zip(range(200), stream)), 200)


class Anthropic(Live):
    """What the library `anthropic` makes of it."""

    def test_an_answer(self):
        create = self.anthropic().messages.with_raw_response.create
        raw = create(model="fake", messages=PROMPT, max_tokens=500, system="Be brief.")
        self.assertTrue(raw.request_id.startswith("req_"))
        reply = valid(Message, raw.text())
        self.assertEqual(raw.parse().to_dict(), reply.to_dict())
        self.assertEqual(reply.content[0].text, ANSWER)
        self.assertEqual(reply.stop_reason, "end_turn")
        self.assertGreater(reply.usage.input_tokens, 0)
        self.assertGreater(reply.usage.output_tokens, 0)

    def test_a_stream(self):
        for model in ("fake", "fake-choppy"):
            options = {"model": model, "messages": PROMPT, "max_tokens": 500}
            with self.anthropic().messages.stream(**options) as stream:
                deltas = list(stream.text_stream)
                reply = stream.get_final_message()
            self.assertGreater(len(deltas), 3)
            self.assertEqual("".join(deltas), ANSWER)
            self.assertEqual(reply.content[0].text, ANSWER)
            self.assertEqual(reply.stop_reason, "end_turn")
            whole = self.message("fake").usage
            self.assertEqual(reply.usage.input_tokens, whole.input_tokens)
            self.assertEqual(reply.usage.output_tokens, whole.output_tokens)

    def test_why_answers_end(self):
        for model, reason in (
            ("fake-length", "max_tokens"),
            ("fake-filtered", "refusal"),
            ("fake-empty", "end_turn"),
        ):
            self.assertEqual(self.message(model).stop_reason, reason)
            stream = self.anthropic().messages.stream
            with stream(model=model, messages=PROMPT, max_tokens=100) as seen:
                self.assertEqual(seen.get_final_message().stop_reason, reason)
        self.assertEqual(self.message("fake-empty").content, [])
        self.assertEqual(self.message("fake", max_tokens=2).stop_reason, "max_tokens")

    def test_structure(self):
        messages = self.anthropic().messages
        options = {"model": "fake", "messages": ASK_RECIPE, "max_tokens": 100}
        reply = messages.parse(**options, output_format=Recipe)
        self.assertEqual(reply.parsed_output, Recipe(dish="soup", minutes=25))
        with messages.stream(**options, output_format=Recipe) as stream:
            reply = stream.get_final_message()
        self.assertEqual(reply.parsed_output, Recipe(dish="soup", minutes=25))
        form = {"format": {"type": "json_schema", "schema": {"type": "object"}}}
        with self.assertRaises(anthropic.BadRequestError):
            messages.create(**options, output_config=form)

    def test_a_tool(self):
        tool = {"name": "recipe", "input_schema": Recipe.model_json_schema()}
        options = {"tools": [tool], "tool_choice": {"type": "tool", "name": "recipe"}}
        options |= {"model": "fake", "messages": ASK_RECIPE, "max_tokens": 100}
        reply = self.anthropic().messages.create(**options)
        with self.anthropic().messages.stream(**options) as stream:
            streamed = stream.get_final_message()
        for message in (reply, streamed):
            self.assertEqual(message.stop_reason, "tool_use")
            self.assertEqual(message.content[0].name, "recipe")
            self.assertEqual(message.content[0].input, json.loads(RECIPE))

    def test_errors(self):
        for model, kind, name in (
            ("fake-refused", anthropic.NotFoundError, "not_found_error"),
            ("fake-429", anthropic.RateLimitError, "rate_limit_error"),
            ("fake-529", anthropic.InternalServerError, "overloaded_error"),
            ("fake-500-once", anthropic.InternalServerError, "api_error"),
        ):
            with self.assertRaises(kind) as caught:
                self.message(model)
            body = caught.exception.body
            self.assertEqual(valid(ErrorResponse, json.dumps(body)).error.type, name)
        self.assertEqual(caught.exception.status_code, 500)
        self.assertEqual(self.message("fake-500-once").content[0].text, ANSWER)
        with self.assertRaises(anthropic.RateLimitError) as caught:
            self.message("fake-429-after")
        self.assertEqual(caught.exception.response.headers["retry-after"], "1")

    def test_keys_and_what_is_required(self):
        with self.assertRaises(anthropic.AuthenticationError) as caught:
            self.message("fake", key="bad-key-42")
        self.assertIn("bad-key-42", caught.exception.message)
        neither = {"Authorization": anthropic.omit}
        with self.assertRaises(anthropic.AuthenticationError):
            self.message("fake", extra_headers=neither)
        self.message("fake", extra_headers=neither | {"x-api-key": "key"})
        with self.assertRaises(anthropic.BadRequestError):
            self.message("fake", extra_headers={"anthropic-version": anthropic.omit})
        with self.assertRaises(anthropic.BadRequestError):
            self.message("fake", messages=[{"role": "system", "content": "Be brief."}])

    def test_broken_answers(self):
        with self.assertRaises(anthropic.APIConnectionError):
            self.message("fake-cut")
        with self.assertRaises(Exception) as caught:
            list(self.message("fake-cut", stream=True))
        self.assertIn("incomplete chunked read", str(caught.exception))
        with self.assertRaises(anthropic.APIStatusError) as caught:
            list(self.message("fake-midway", stream=True))
        self.assertEqual(caught.exception.body["error"]["type"], "overloaded_error")
        for model in ("fake-truncated", "fake-not-json"):
            with self.assertRaises(ValueError):
                self.message(model)
        # The library passes over an event that has no end: nobody is told why the answer ended.
        events = list(self.message("fake-truncated", stream=True))
        self.assertNotIn("message_delta", [event.type for event in events])
        self.assertEqual(type(self.message("fake-html")), str)

    def test_large_and_endless_answers(self):
        self.assertGreater(len(self.message("fake-huge").content[0].text), 5_000_000)
        with self.message("fake-endless", stream=True) as stream:
            self.assertEqual(sum(1 for _, _ in zip(range(200), stream)), 200)


def main():
    # The fake is on this machine, whatever proxy leads elsewhere.
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
    program, *options = sys.argv[1:]
    with subprocess.Popen([program, "--port", "0"], stdout=subprocess.PIPE, text=True) as fake:
        try:
            Live.url = fake.stdout.readline().split()[-1]
            versions = f"openai {openai.__version__}, anthropic {anthropic.__version__}"
            print(f"The fake model services, as seen by {versions}:", file=sys.stderr, flush=True)
            result = unittest.main(argv=[sys.argv[0], "-v", *options], exit=False).result
        finally:
            fake.kill()
    sys.exit(not result.wasSuccessful())


if __name__ == "__main__":
    main()
