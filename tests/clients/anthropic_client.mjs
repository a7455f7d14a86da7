// Talks to an Anthropic-compatible address with the official client and prints what came of it as one JSON line.
//
// usage: anthropic_client.mjs BASE_URL KEY MODEL answers|refusals|leave
import * as scenes from "./scenes.mjs";

const { Anthropic } = scenes.packages("@anthropic-ai/sdk");

function client(apiKey = scenes.key) {
  return new Anthropic({ baseURL: scenes.baseUrl, apiKey, maxRetries: 0, timeout: scenes.TIMEOUT_MS });
}

function settings(more = {}) {
  return { model: scenes.model, messages: scenes.MESSAGES, temperature: 0, max_tokens: 8, ...more };
}

function message(more = {}, through = client()) {
  return through.messages.create(settings(more));
}

async function stream(more = {}) {
  const events = client().messages.stream(settings(more));
  const kinds = (await scenes.all(events)).map((event) => event.type);
  return { events: kinds, message: await events.finalMessage() };
}

async function answers() {
  return { message: await message(), stream: await stream() };
}

function refusal(ask) {
  return scenes.refusal(ask, ({ status, message, error, requestID }) => {
    return { status, message, body: error, request_id: requestID };
  });
}

async function refusals() {
  return {
    wrong_key: await refusal(() => message({}, client("gpuf_wrong"))),
    unknown_model: await refusal(() => message({ model: "nobody-has-this" })),
    unknown_model_streamed: await refusal(() => stream({ model: "nobody-has-this" })),
  };
}

async function leave() {
  const events = await message({ stream: true, max_tokens: scenes.LONG, ignore_eos: true });
  let read = 0;
  for await (const _event of events) {
    read += 1;
    if (read === 5) break;
  }
  return { read };
}

await scenes.play({ answers, refusals, leave });
