// Streams one answer with thoughts and tools through `@anthropic-ai/sdk`, and prints what it gathered.
import Anthropic from "@anthropic-ai/sdk";

const [, , baseURL, model, tool] = process.argv;
const client = new Anthropic({ baseURL, apiKey: "x", maxRetries: 0 });
const asked = {
  model,
  max_tokens: 9000,
  thinking: { type: "enabled", budget_tokens: 2048 },
  messages: [{ role: "user", content: "Wie wird das Wetter?" }],
  tools: [JSON.parse(tool)],
};
const pieces = { text: [], thinking: [], inputJson: [] };
const stream = client.messages.stream(asked);
for (const kind of Object.keys(pieces)) stream.on(kind, (piece) => pieces[kind].push(piece));
const final = await stream.finalMessage();
const counted = await client.messages.countTokens({ ...asked, max_tokens: undefined });
console.log(JSON.stringify({ pieces, final, counted }));
