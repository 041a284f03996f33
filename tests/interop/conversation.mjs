// The talk with the test, as conversation.rs describes it.

import { createInterface } from "node:readline";

export const setup = JSON.parse(process.env.KEYWARD_INTEROP);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function say(message) {
  process.stdout.write(`${JSON.stringify(message)}\n`);
}

// Has the person's browser go there; gives the address that it was sent back to.
export async function browse(address) {
  say({ open: String(address) });
  const answer = JSON.parse((await lines.next()).value);
  if (answer.address === null) throw new Error(`the browser stays at a page: ${answer.status}`);
  return new URL(answer.address);
}

// Runs the steps in order and reports each that passes; the first failure ends the program.
export async function run(steps) {
  for (const [name, step] of Object.entries(steps)) {
    try {
      await step();
    } catch (error) {
      say({ failure: `${name}: ${error.stack} ${error.cause ?? ""}` });
      process.exit(1);
    }
    say({ step: name });
  }
  process.exit(0);
}
