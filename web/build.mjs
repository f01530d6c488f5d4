/** Writes dist/: the page, everything in it from this folder and its packages. */

import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";

const OUT = "dist";
const WASM = "node_modules/@tensorflow/tfjs-backend-wasm/wasm-out/tfjs-backend-wasm-simd.wasm";

if (!existsSync("public/model.json")) {
  console.error("public/ lacks the networks; python tools/build_web_assets.py writes them (make web does).");
  process.exit(1);
}
rmSync(OUT, { recursive: true, force: true });
mkdirSync(OUT);
const { metafile } = await build({
  entryPoints: ["src/main.js"],
  outdir: OUT,
  bundle: true,
  splitting: true,
  format: "esm",
  target: "es2022",
  minify: true,
  legalComments: "none", // dist/licences.txt has them
  chunkNames: "[name]-[hash]",
  // The runtime looks for node's modules where it runs in node.
  external: ["fs", "path", "crypto", "worker_threads", "perf_hooks", "util", "os", "ws", "module", "url"],
  plugins: [withoutThreads()],
  logLevel: "warning",
  metafile: true,
});
cpSync("public", OUT, { recursive: true });
for (const name of ["index.html", "style.css"]) cpSync(`src/${name}`, `${OUT}/${name}`);
cpSync(WASM, `${OUT}/tfjs-backend-wasm-simd.wasm`);
writeFileSync(`${OUT}/licences.txt`, licences());
report();

/** The page uses one thread: the glue of the runtime's threaded twin is left out. */
function withoutThreads() {
  return {
    name: "without-threads",
    setup({ onLoad }) {
      onLoad({ filter: /tfjs-backend-wasm-threaded-simd(\.worker)?\.js$/ }, () => ({
        contents: "export const wasmWorkerContents = ''; export default null;",
      }));
    },
  };
}

/** The licence texts of the packages whose code is in dist/, and of no others. */
function licences() {
  const inside = Object.values(metafile.outputs).flatMap(({ inputs }) =>
    Object.entries(inputs).filter(([, { bytesInOutput }]) => bytesInOutput).map(([path]) => path),
  );
  const folder = (path) => path.match(/^node_modules\/(@[^/]+\/)?[^/]+/)?.[0];
  const folders = new Set([...inside, WASM].map(folder).filter(Boolean));
  const parts = [...folders].sort().map((folder) => {
    const { name, version, license } = JSON.parse(readFileSync(`${folder}/package.json`, "utf8"));
    const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
    // TensorFlow.js has no copy of its licence in its packages; this project's own is the same.
    const path = file ? `${folder}/${file}` : license === "Apache-2.0" ? "../LICENSE" : null;
    if (!path) throw new Error(`${name} is ${license} and has no licence file; its text has to be found.`);
    return `${name} ${version}: ${license}\n\n${readFileSync(path, "utf8")}`;
  });
  return parts.join(`\n${"-".repeat(78)}\n\n`);
}

function report() {
  const files = readdirSync(OUT).map((name) => {
    const content = readFileSync(`${OUT}/${name}`);
    return [name, content.length, gzipSync(content).length];
  });
  for (const [name, size, packed] of files) console.log(`${name.padEnd(34)}${kib(size)}${kib(packed)} gzip`);
  const sum = (column) => files.reduce((total, file) => total + file[column], 0);
  console.log(`${"in all".padEnd(34)}${kib(sum(1))}${kib(sum(2))} gzip`);
}

function kib(bytes) {
  return `${(bytes / 1024).toFixed(1).padStart(9)} KiB`;
}
