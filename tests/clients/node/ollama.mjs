// Asks the router through the `ollama` package, and prints what it gathered.
import { Ollama } from "ollama";

const [, , host, dialect, tool] = process.argv;
const client = new Ollama({ host });
const messages = [{ role: "user", content: "Wie wird das Wetter?" }];
const gathered = { text: "", calls: [], thinking: "", whole: "" };

const tools = [JSON.parse(tool)];
for await (const part of await client.chat({ model: `${dialect}/weather`, messages, tools, stream: true })) {
  gathered.text += part.message.content;
  gathered.calls.push(...(part.message.tool_calls ?? []));
}
const whole = await client.chat({ model: `${dialect}/thinking`, messages, think: true });
gathered.thinking = whole.message.thinking;
gathered.whole = whole.message.content;
const fault = async (model, stream) => {
  try {
    for await (const part of await client.chat({ model, messages, stream })) void part;
  } catch (error) {
    return error.message;
  }
};
gathered.busy = await fault(`${dialect}/full`, true);
gathered.broken = await fault(`${dialect}/broken`, true);
gathered.models = (await client.list()).models.map((model) => model.name);
const endless = await client.chat({ model: `${dialect}/endless`, messages, stream: true });
for await (const part of endless) {
  void part;
  break;
}
endless.abort();
console.log(JSON.stringify(gathered));
