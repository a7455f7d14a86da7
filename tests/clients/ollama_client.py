"""Talks to an Ollama-compatible address with the official client and prints what came of it as one JSON line.

usage: ollama_client.py BASE_URL KEY MODEL answers|refusals|leave
"""

import sys

import ollama

import scenes

base_url, key, model, scene = sys.argv[1:]


def client(key=key):
    headers = {"Authorization": f"Bearer {key}"}
    return ollama.Client(host=base_url, headers=headers, timeout=scenes.TIMEOUT_S)


def answers():
    question = {"model": model, "messages": scenes.MESSAGES}
    return {
        "models": [one.model for one in client().list().models],
        "running": [one.model for one in client().ps().models],
        "capabilities": client().show(model).capabilities,
        "chat": client().chat(**question).model_dump(mode="json"),
        "stream": [part.model_dump(mode="json") for part in client().chat(**question, stream=True)],
        "generate": client().generate(model=model, prompt=scenes.QUESTION).model_dump(mode="json"),
        "embed": client().embed(model=model, input=scenes.TEXTS).model_dump(mode="json"),
    }


def refusal(ask):
    try:
        ask()
    except ollama.ResponseError as error:
        return {"class": type(error).__name__, "status": error.status_code, "message": error.error}
    return None


def refusals():
    question = {"model": "nobody-has-this", "messages": scenes.MESSAGES}
    return {
        "wrong_key": refusal(lambda: client("gpuf_wrong").list()),
        "unknown_model": refusal(lambda: client().chat(**question)),
        "unknown_model_streamed": refusal(lambda: next(client().chat(**question, stream=True))),
        "pull": refusal(lambda: client().pull(model)),
        "delete": refusal(lambda: client().delete(model)),
    }


def leave():
    parts = client().chat(model=model, messages=scenes.MESSAGES, stream=True)
    read = [next(parts).message.content for _ in range(3)]
    parts.close()
    return {"read": len(read)}


scenes.play({"answers": answers, "refusals": refusals, "leave": leave}[scene])
