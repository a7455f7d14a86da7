"""Talks to an OpenAI-compatible address with the official client and prints what came of it as one JSON line.

usage: openai_client.py BASE_URL KEY MODEL answers|refusals|leave
"""

import sys

import openai

import scenes

base_url, key, model, scene = sys.argv[1:]


def client(key=key):
    return openai.OpenAI(base_url=f"{base_url}/v1", api_key=key, max_retries=0, timeout=scenes.TIMEOUT_S)


def chat(through=client(), model=model, **more):
    settings = {"messages": scenes.MESSAGES, "temperature": 0, "seed": 7, "max_tokens": 8}
    return through.chat.completions.create(model=model, **(settings | more))


def chunks(**more):
    return [chunk.model_dump() for chunk in chat(stream=True, **more)]


def answers():
    tools = {
        "messages": scenes.openai_messages_with_tool_calls(),
        "tools": [scenes.openai_tool()],
        "tool_choice": "required",
        "max_tokens": 48,
    }
    responses = client().responses.create(model=model, input=scenes.QUESTION, temperature=0, max_output_tokens=8)
    return {
        "models": [model.id for model in client().models.list()],
        "chat": chat().model_dump(),
        "stream": chunks(),
        "stream_with_usage": chunks(stream_options={"include_usage": True}),
        "tools": chat(**tools).model_dump(),
        "tools_stream": chunks(**tools),
        "embeddings": client().embeddings.create(model=model, input=scenes.TEXTS).model_dump(),
        "responses": responses.model_dump(),
    }


def refusal(ask):
    try:
        ask()
    except openai.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "message": error.message,
            "type": error.type,
            "code": error.code,
            "request_id": error.request_id,
        }
    return None


def refusals():
    return {
        "wrong_key": refusal(lambda: chat(client("gpuf_wrong"))),
        "unknown_model": refusal(lambda: chat(model="nobody-has-this")),
        "unknown_model_streamed": refusal(lambda: chat(model="nobody-has-this", stream=True)),
        "unknown_model_of_the_list": refusal(lambda: client().models.retrieve("nobody-has-this")),
        "engines_own": refusal(lambda: chat(messages=[{"role": "user", "content": [{"type": "nonsense"}]}])),
    }


def leave():
    stream = chat(stream=True, max_tokens=scenes.LONG, extra_body={"ignore_eos": True})
    read = [next(stream).choices[0].index for _ in range(4)]
    stream.close()
    return {"read": len(read)}


scenes.play({"answers": answers, "refusals": refusals, "leave": leave}[scene])
