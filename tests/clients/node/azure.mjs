// Asks the router through AzureOpenAI of the `openai` package, and prints what it gathered.
import { AzureOpenAI } from "openai";

const [, , endpoint, apiKey, dialect, tool] = process.argv;
const given = { endpoint, apiKey, apiVersion: "2024-10-21", maxRetries: 0 };
const client = new AzureOpenAI(given);
const messages = [{ role: "user", content: "Wie wird das Wetter?" }];
const pieces = [];
const stream = client.chat.completions.stream({
  model: `${dialect}/weather`,
  messages,
  tools: [JSON.parse(tool)],
});
stream.on("content", (piece) => pieces.push(piece));
const final = await stream.finalChatCompletion();
const text = async (client, model) =>
  (await client.chat.completions.create({ model, messages })).choices[0].message.content;
const whole = await text(client, `${dialect}/m`);
const deployed = await text(new AzureOpenAI({ ...given, deployment: `${dialect}/m` }), "gpt-4o");
const status = await text(client, `${dialect}/full`).catch((error) => error.status);
console.log(JSON.stringify({ text: pieces.join(""), final, whole, deployed, status }));
