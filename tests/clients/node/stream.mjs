// Streams one answer with tools through the `openai` package, and prints what it gathered.
import OpenAI from "openai";

const [, , baseURL, model, tool] = process.argv;
const client = new OpenAI({ baseURL, apiKey: "x", maxRetries: 0 });
const stream = client.chat.completions.stream({
  model,
  messages: [{ role: "user", content: "Wie wird das Wetter?" }],
  tools: [JSON.parse(tool)],
});
const pieces = [];
stream.on("content", (piece) => pieces.push(piece));
const final = await stream.finalChatCompletion();
console.log(JSON.stringify({ text: pieces.join(""), final }));
