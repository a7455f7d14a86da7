"""What all Python clients ask, and how they tell what came of it."""

import json
import sys

TIMEOUT_S = 100
QUESTION = "Name a colour."
MESSAGES = [{"role": "user", "content": QUESTION}]
TEXTS = ["a red apple", "the sea at night"]
# More tokens than a client that leaves will wait for, and no more than the engine has room for.
LONG = 1500

TOOL = "get_temperature"
TOOL_ABOUT = "The temperature outside"
TOOL_INPUT = {
    "type": "object",
    "properties": {"unit": {"type": "string", "enum": ["celsius"]}},
    "required": ["unit"],
}
TOOL_QUESTION = "How warm is it?"
# A small model repeats what it has seen a few times; that is enough to make it call a tool.
TOOL_TURNS = 5


def openai_tool():
    function = {"name": TOOL, "description": TOOL_ABOUT, "parameters": TOOL_INPUT}
    return {"type": "function", "function": function}


def openai_messages_with_tool_calls():
    messages = []
    for turn in range(TOOL_TURNS):
        call = {
            "id": f"call_{turn}",
            "type": "function",
            "function": {"name": TOOL, "arguments": '{"unit": "celsius"}'},
        }
        messages += [
            {"role": "user", "content": TOOL_QUESTION},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": "20"},
        ]
    return messages + [{"role": "user", "content": TOOL_QUESTION}]


def anthropic_tool():
    return {"name": TOOL, "description": TOOL_ABOUT, "input_schema": TOOL_INPUT}


def anthropic_messages_with_tool_calls():
    messages = [{"role": "user", "content": TOOL_QUESTION}]
    for turn in range(TOOL_TURNS):
        call = {"type": "tool_use", "id": f"call_{turn}", "name": TOOL, "input": {"unit": "celsius"}}
        result = {"type": "tool_result", "tool_use_id": call["id"], "content": "20"}
        question = {"type": "text", "text": TOOL_QUESTION}
        messages += [{"role": "assistant", "content": [call]}, {"role": "user", "content": [result, question]}]
    return messages


def play(scene):
    """Prints what `scene` returns, and stays until standard input ends: whoever leaves a stream does so by
    closing it, not by dying."""
    print(json.dumps(scene()), flush=True)
    sys.stdin.read()
