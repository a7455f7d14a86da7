"""Talks to an Anthropic-compatible address with the official client and prints what came of it as one JSON line.

usage: anthropic_client.py BASE_URL KEY MODEL answers|refusals|leave
"""

import sys

import anthropic

import scenes

base_url, key, model, scene = sys.argv[1:]


def client(key=key):
    return anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0, timeout=scenes.TIMEOUT_S)


def settings(**more):
    # Fields that the client does not know pass as they are.
    extra = {"temperature": 0, "ignore_eos": more.pop("ignore_eos", False)}
    return {"model": model, "messages": scenes.MESSAGES, "max_tokens": 8, "extra_body": extra} | more


def message(through=client(), **more):
    return through.messages.create(**settings(**more))


def stream(**more):
    with client().messages.stream(**settings(**more)) as events:
        kinds = [event.type for event in events]
        return {"events": kinds, "message": events.get_final_message().model_dump()}


def answers():
    tools = {
        "messages": scenes.anthropic_messages_with_tool_calls(),
        "tools": [scenes.anthropic_tool()],
        "tool_choice": {"type": "any"},
        "max_tokens": 48,
    }
    return {
        "message": message().model_dump(),
        "stream": stream(),
        "tools": message(**tools).model_dump(),
        "tools_stream": stream(**tools),
        "count": client().messages.count_tokens(model=model, messages=scenes.MESSAGES).model_dump(),
    }


def refusal(ask):
    try:
        ask()
    except anthropic.APIStatusError as error:
        return {
            "class": type(error).__name__,
            "status": error.status_code,
            "message": error.message,
            "body": error.body,
            "request_id": error.request_id,
        }
    return None


def refusals():
    return {
        "wrong_key": refusal(lambda: message(client("gpuf_wrong"))),
        "unknown_model": refusal(lambda: message(model="nobody-has-this")),
        "unknown_model_streamed": refusal(lambda: stream(model="nobody-has-this")),
    }


def leave():
    events = message(stream=True, max_tokens=scenes.LONG, ignore_eos=True)
    read = [next(events).type for _ in range(5)]
    events.close()
    return {"read": len(read)}


scenes.play({"answers": answers, "refusals": refusals, "leave": leave}[scene])
