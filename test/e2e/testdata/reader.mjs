// Reads bodies, one a line in base64, as an upstream in Node.js would, and prints the model and the
// stream flag of each, or null where it would refuse.

import { readFileSync } from "node:fs";

for (const line of readFileSync(0, "latin1").split("\n").slice(0, -1)) {
  let read;
  try {
    const body = JSON.parse(Buffer.from(line, "base64").toString());
    read = typeof body.model === "string" ? { model: body.model, stream: body.stream === true } : null;
  } catch {
    read = null;
  }
  console.log(JSON.stringify(read));
}
