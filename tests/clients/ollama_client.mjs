// Talks to an Ollama-compatible address with the official client and prints what came of it as one JSON line.
//
// usage: ollama_client.mjs BASE_URL KEY MODEL answers|refusals|leave
import * as scenes from "./scenes.mjs";

const { Ollama } = scenes.packages("ollama");
const { model, MESSAGES: messages } = scenes;

function client(key = scenes.key) {
  return new Ollama({ host: scenes.baseUrl, headers: { Authorization: `Bearer ${key}` } });
}

async function answers() {
  return {
    models: (await client().list()).models.map((one) => one.model),
    running: (await client().ps()).models.map((one) => one.model),
    capabilities: (await client().show({ model })).capabilities,
    chat: await client().chat({ model, messages }),
    stream: await scenes.all(client().chat({ model, messages, stream: true })),
    generate: await client().generate({ model, prompt: scenes.QUESTION }),
    embed: await client().embed({ model, input: scenes.TEXTS }),
  };
}

function refusal(ask) {
  return scenes.refusal(ask, ({ status_code, message }) => ({ status: status_code, message }));
}

async function refusals() {
  const question = { model: "nobody-has-this", messages };
  return {
    wrong_key: await refusal(() => client("gpuf_wrong").list()),
    unknown_model: await refusal(() => client().chat(question)),
    unknown_model_streamed: await refusal(() => client().chat({ ...question, stream: true })),
    pull: await refusal(() => client().pull({ model })),
    delete: await refusal(() => client().delete({ model })),
  };
}

async function leave() {
  const parts = await client().chat({ model, messages, stream: true });
  let read = 0;
  for await (const _part of parts) {
    read += 1;
    if (read === 3) break;
  }
  parts.abort();
  return { read };
}

await scenes.play({ answers, refusals, leave });
