// Asks one question through `@google/genai`, streamed, with a function; prints what it gathered.
// With "leave" it goes away after the first piece.
import { GoogleGenAI } from "@google/genai";

const [, , baseUrl, model, apiVersion, way] = process.argv;
const google = new GoogleGenAI({ apiKey: "x", httpOptions: { baseUrl, apiVersion } });
const parameters = {
  type: "OBJECT",
  properties: { city: { type: "STRING" }, days: { type: "INTEGER" } },
  required: ["city", "days"],
};
const told = { text: "", calls: [], finish: null, usage: null, error: null, records: 0 };
const chat = google.chats.create({
  model,
  config: { tools: [{ functionDeclarations: [{ name: "weather", parameters }] }] },
});
try {
  for await (const record of await chat.sendMessageStream({ message: "Wie wird das Wetter?" })) {
    told.records += 1;
    told.text += record.text ?? "";
    told.calls.push(...(record.functionCalls ?? []));
    told.finish = record.candidates?.[0]?.finishReason ?? told.finish;
    told.usage = record.usageMetadata ?? told.usage;
    if (way === "leave") process.exit(0);
  }
  told.history = chat.getHistory(true).length;
  if (way === "models") {
    const pages = await google.models.list();
    told.models = [];
    for await (const one of pages) told.models.push(one.name);
    told.tokens = (await google.models.countTokens({ model, contents: "Some words" })).totalTokens;
  }
} catch (error) {
  told.error = { name: error.name, status: error.status, message: error.message };
}
console.log(JSON.stringify(told));
