// Talks to an OpenAI-compatible address with the official client and prints what came of it as one JSON line.
//
// usage: openai_client.mjs BASE_URL KEY MODEL answers|refusals|leave
import * as scenes from "./scenes.mjs";

const { OpenAI } = scenes.packages("openai");
const { model } = scenes;

function client(apiKey = scenes.key) {
  return new OpenAI({ baseURL: `${scenes.baseUrl}/v1`, apiKey, maxRetries: 0, timeout: scenes.TIMEOUT_MS });
}

function chat(more = {}, through = client()) {
  const settings = { model, messages: scenes.MESSAGES, temperature: 0, seed: 7, max_tokens: 8 };
  return through.chat.completions.create({ ...settings, ...more });
}

function chunks(more = {}) {
  return scenes.all(chat({ ...more, stream: true }));
}

async function answers() {
  const tools = {
    messages: scenes.openaiMessagesWithToolCalls(),
    tools: [scenes.openaiTool()],
    tool_choice: "required",
    max_tokens: 48,
  };
  const responses = { model, input: scenes.QUESTION, temperature: 0, max_output_tokens: 8 };
  return {
    models: (await scenes.all(client().models.list())).map((one) => one.id),
    chat: await chat(),
    stream: await chunks(),
    stream_with_usage: await chunks({ stream_options: { include_usage: true } }),
    tools: await chat(tools),
    tools_stream: await chunks(tools),
    embeddings: await client().embeddings.create({ model, input: scenes.TEXTS }),
    responses: await client().responses.create(responses),
  };
}

function refusal(ask) {
  return scenes.refusal(ask, ({ status, message, type, code, requestID }) => {
    return { status, message, type, code, request_id: requestID };
  });
}

async function refusals() {
  return {
    wrong_key: await refusal(() => chat({}, client("gpuf_wrong"))),
    unknown_model: await refusal(() => chat({ model: "nobody-has-this" })),
    unknown_model_streamed: await refusal(() => chat({ model: "nobody-has-this", stream: true })),
    unknown_model_of_the_list: await refusal(() => client().models.retrieve("nobody-has-this")),
    engines_own: await refusal(() => chat({ messages: [{ role: "user", content: [{ type: "nonsense" }] }] })),
  };
}

async function leave() {
  const stream = await chat({ stream: true, max_tokens: scenes.LONG, ignore_eos: true });
  let read = 0;
  for await (const _chunk of stream) {
    read += 1;
    if (read === 4) break;
  }
  return { read };
}

await scenes.play({ answers, refusals, leave });
