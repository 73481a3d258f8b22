// Writes ../assets/three.min.js and three's licence beside it: npm ci && npm run build
import { copyFileSync } from "node:fs";
import { build } from "esbuild";

await build({
  entryPoints: ["three.js"],
  bundle: true,
  minify: true,
  format: "iife",
  globalName: "THREE",
  target: "es2020",
  legalComments: "inline",
  outfile: "../assets/three.min.js",
});
copyFileSync("node_modules/three/LICENSE", "../assets/three.LICENSE.txt");
