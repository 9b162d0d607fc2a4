// Restate: its server, a service in this process, and a closed loop over the server's ingress.
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { spawn } from "node:child_process";
import { join } from "node:path";
import * as restate from "@restatedev/restate-sdk";

const value = (name) => process.argv[process.argv.indexOf(`--${name}`) + 1];
const [dir, total, concurrency] = [value("dir"), Number(value("total")), Number(value("concurrency"))];
const [ingress, admin, service] = [18080, 19070, 19080];
const digest = (path) => createHash("sha256").update(readFileSync(path)).digest("hex");

const flow = restate.service({
  name: "flow",
  handlers: {
    run: async (ctx, { n, path }) => {
      const when = await ctx.run("now", () => new Date().toISOString());
      const text = await ctx.run("render", () => `run ${n} at ${when}\n`);
      await ctx.run("write", () => void writeFileSync(path, text));
      return await ctx.run("hash", () => digest(path));
    },
  },
});
restate.serve({ services: [flow], port: service, logger: () => {} });

const server = spawn("node_modules/.bin/restate-server", ["--base-dir", join(dir, "restate"), "--no-logo"], {
  stdio: "ignore",
  env: {
    ...process.env,
    RESTATE_INGRESS__BIND_ADDRESS: `127.0.0.1:${ingress}`,
    RESTATE_ADMIN__BIND_ADDRESS: `127.0.0.1:${admin}`,
    RESTATE_DISABLE_TELEMETRY: "true",
  },
});
process.on("exit", () => server.kill("SIGKILL"));

const post = async (url, body) => {
  const answer = await fetch(url, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`${url}: ${answer.status} ${await answer.text()}`);
  return answer.json();
};
const deadline = Date.now() + 60_000;
for (;;) {
  try {
    await post(`http://127.0.0.1:${admin}/deployments`, { uri: `http://127.0.0.1:${service}` });
    break;
  } catch (error) {
    if (Date.now() > deadline) throw error;
    await new Promise((done) => setTimeout(done, 200));
  }
}

const out = join(dir, "out");
mkdirSync(out, { recursive: true });
const run = (n, path) => post(`http://127.0.0.1:${ingress}/flow/run`, { n, path });
await Promise.all(Array.from({ length: concurrency }, (_, n) => run(-1 - n, join(out, `warm-${n}.txt`))));
let next = 0;
let right = 0;
const took = [];
const begun = performance.now();
await Promise.all(
  Array.from({ length: concurrency }, async () => {
    while (next < total) {
      const n = next++;
      const path = join(out, `${n}.txt`);
      const start = performance.now();
      const seen = await run(n, path);
      took.push(performance.now() - start);
      if (seen === digest(path)) right++;
    }
  }),
);
const seconds = (performance.now() - begun) / 1000;
took.sort((a, b) => a - b);
const at = (share) => took[Math.min(took.length - 1, Math.floor(took.length * share))];
console.log(
  JSON.stringify({
    engine: "restate", total, concurrency, right: right === total, seconds,
    per_second: total / seconds, p50_ms: at(0.5), p95_ms: at(0.95), p99_ms: at(0.99),
  }),
);
process.exit(0);
