// What all Node clients ask, and how they tell what came of it. The packages lie in the test environment,
// where an import would not look for them.
import { createRequire } from "node:module";
import { text } from "node:stream/consumers";

export const TIMEOUT_MS = 100_000;
export const QUESTION = "Name a colour.";
export const MESSAGES = [{ role: "user", content: QUESTION }];
export const TEXTS = ["a red apple", "the sea at night"];
// More tokens than a client that leaves will wait for, and no more than the engine has room for.
export const LONG = 1500;

const TOOL = {
  name: "get_temperature",
  description: "The temperature outside",
  parameters: {
    type: "object",
    properties: { unit: { type: "string", enum: ["celsius"] } },
    required: ["unit"],
  },
};
const TOOL_QUESTION = { role: "user", content: "How warm is it?" };
// A small model repeats what it has seen a few times; that is enough to make it call a tool.
const TOOL_TURNS = [0, 1, 2, 3, 4];

export const [baseUrl, key, model, scene] = process.argv.slice(2);
export const packages = createRequire(`${process.env.GPUF_TEST_ENV}/node/package.json`);

export function openaiTool() {
  return { type: "function", function: TOOL };
}

export function openaiMessagesWithToolCalls() {
  const turns = TOOL_TURNS.flatMap((turn) => {
    const id = `call_${turn}`;
    const call = { id, type: "function", function: { name: TOOL.name, arguments: '{"unit": "celsius"}' } };
    return [
      TOOL_QUESTION,
      { role: "assistant", content: "", tool_calls: [call] },
      { role: "tool", tool_call_id: id, content: "20" },
    ];
  });
  return [...turns, TOOL_QUESTION];
}

export async function all(stream) {
  const parts = [];
  for await (const part of await stream) parts.push(part);
  return parts;
}

/** What `told` says of the error that `ask` ends with; null if there is none. */
export async function refusal(ask, told) {
  try {
    await ask();
  } catch (error) {
    if (error?.constructor?.name === undefined) throw error;
    return { class: error.constructor.name, ...told(error) };
  }
  return null;
}

/** Plays the scene that was asked for and prints what it returns. It stays until standard input ends:
 * whoever leaves a stream does so by closing it, not by dying. */
export async function play(scenes) {
  console.log(JSON.stringify(await scenes[scene]()));
  await text(process.stdin);
  process.exit(0);
}
