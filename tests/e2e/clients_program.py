"""clients_program.py URL QUESTION: drives a server through the openai and anthropic packages; run by clients_test.py."""
import json
import sys

import anthropic
import openai

URL, QUESTION = sys.argv[1:]
ORDER = "Close order BB668296004UL."
PARAMETERS = {"type": "object", "properties": {"id": {"type": "string", "description": "Id of the order"}}, "required": ["id"]}
DESCRIPTION = "Use this to close an order."
SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
          "required": ["name", "age"], "additionalProperties": False}
USER = [{"role": "user", "content": QUESTION}]
done = {"openai": 0, "anthropic": 0}


def check(api, condition, told):
    assert condition, told
    done[api] += 1


def use_openai():
    client = openai.OpenAI(base_url=URL + "/v1", api_key="none", max_retries=0)
    chat = client.chat.completions
    chunks = list(chat.create(model="spark", messages=USER, temperature=0, stream=True, stream_options={"include_usage": True}))
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    thinking = "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas)
    text = "".join(delta.content or "" for delta in deltas)
    check("openai", thinking and "quantum" in text.lower() and chunks[-1].usage.completion_tokens > 0, chunks[-1])

    tools = [{"type": "function", "function": {"name": "close_order", "description": DESCRIPTION, "parameters": PARAMETERS}}]
    messages = [{"role": "user", "content": ORDER}]
    message = chat.create(model="spark", messages=messages, tools=tools, temperature=0).choices[0].message
    call = message.tool_calls[0]
    messages += [message, {"role": "tool", "tool_call_id": call.id, "content": "closed"}]
    answer = chat.create(model="spark", messages=messages, tools=tools, temperature=0).choices[0]
    check("openai", json.loads(call.function.arguments) == {"id": "BB668296004UL"} and answer.message.content, answer)

    form = {"type": "json_schema", "json_schema": {"name": "person", "schema": SCHEMA, "strict": True}}
    answer = chat.create(model="spark", messages=USER, temperature=0, response_format=form, reasoning_effort="none")
    check("openai", sorted(json.loads(answer.choices[0].message.content)) == ["age", "name"], answer)

    with client.responses.stream(model="spark", input=QUESTION, temperature=0) as stream:
        for _ in stream:
            pass
        response = stream.get_final_response()
    check("openai", response.output_text == text and response.output[0].type == "reasoning", response)
    try:
        chat.create(model="spark", messages=USER, temperature=0, max_tokens=-1)
    except openai.BadRequestError as error:
        check("openai", "max_tokens" in error.message, error)
    try:
        client.embeddings.create(model="spark", input="x")
    except openai.InternalServerError as error:
        check("openai", error.status_code == 501, error)


def use_anthropic():
    client = anthropic.Anthropic(base_url=URL, api_key="none", max_retries=0)
    model = client.models.list().data[0]
    check("anthropic", (model.type, model.id, model.display_name) == ("model", "spark", "spark") and model.created_at, model)
    check("anthropic", client.models.retrieve("spark") == model, model)
    thinking = {"type": "enabled", "budget_tokens": 1024}
    with client.messages.stream(model="spark", max_tokens=2048, messages=USER, thinking=thinking) as stream:
        list(stream.text_stream)
        message = stream.get_final_message()
    check("anthropic", [block.type for block in message.content] == ["thinking", "text"], message)

    tools = [{"name": "close_order", "description": DESCRIPTION, "input_schema": PARAMETERS}]
    messages = [{"role": "user", "content": ORDER}]
    ask = dict(model="spark", max_tokens=300, tools=tools, extra_body={"temperature": 0})
    first = client.messages.create(messages=messages, **ask)
    use = first.content[-1]
    messages += [{"role": "assistant", "content": first.content},
                 {"role": "user", "content": [{"type": "tool_result", "tool_use_id": use.id, "content": "closed"}]}]
    last = client.messages.create(messages=messages, **ask)
    check("anthropic", use.input == {"id": "BB668296004UL"} and last.stop_reason == "end_turn", last)
    check("anthropic", client.messages.count_tokens(model="spark", messages=USER).input_tokens > 5, None)
    try:
        client.messages.create(model="spark", max_tokens=5, messages=[{"role": "user", "content": [{"type": "image"}]}])
    except anthropic.BadRequestError as error:
        check("anthropic", "text only" in str(error), error)


use_openai()
use_anthropic()
print(json.dumps(done))
