"""Runs llama.cpp's server on a free port of 127.0.0.1 until standard input ends.

usage: llama_server.py MODEL.gguf CHAT_TEMPLATE.jinja

Prints its base URL once it listens; requests are answered when /health says so.
"""

import os
import sys

import xllamacpp


def parameters(model, chat_template):
    params = xllamacpp.CommonParams()
    params.model.path = model
    params.model_alias = {"smollm2"}
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_ctx = 4096
    params.n_parallel = 2
    params.endpoint_metrics = True
    params.endpoint_slots = True
    params.chat_template = chat_template
    # Embeddings beside chat: they need a way to make one vector of many.
    params.embedding = True
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    # The same question twice gives the same answer only if both start from nothing, on one thread.
    params.cache_prompt = False
    params.cpuparams.n_threads = 1
    params.cpuparams_batch.n_threads = 1
    params.warmup = False
    return params


def main():
    model, chat_template = sys.argv[1:]
    with open(chat_template, encoding="utf-8") as file:
        server = xllamacpp.Server(parameters(model, file.read()))
    print(server.listening_address, flush=True)
    sys.stdin.read()
    # The engine's threads may be in the middle of an answer that nobody waits for.
    os._exit(0)


main()
