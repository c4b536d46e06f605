import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const text = (file: string) => readFileSync(new URL(`../../${file}`, import.meta.url), "utf8");

test("the example of the README is the one that the build compiles", () => {
  const shown = /```ts\n(.*?)```/s.exec(text("README.md"))?.[1];
  assert.equal(shown, text("examples/first.ts"));
});

test("the package has the version of the Python client", () => {
  const python = /^version = "(.*)"$/m.exec(text("../python/pyproject.toml"))?.[1];
  assert.equal(JSON.parse(text("package.json")).version, python);
});
