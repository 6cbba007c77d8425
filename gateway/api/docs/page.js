// Shows /openapi.json: operations by tag, outgoing events, schemas, each with an example. Text is only ever set as text.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete"];
const DEEPEST_EXAMPLE = 6;

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const code = (text) => element("code", { textContent: text });
const pre = (value) => element("pre", { textContent: typeof value === "string" ? value : JSON.stringify(value, null, 2) });
const anchor = (...parts) => parts.join("-").replace(/[^A-Za-z0-9]+/g, "-");
const lastName = (reference) => reference.split("/").pop();

function resolve(api, schema) {
  return schema && schema.$ref ? api.components.schemas[lastName(schema.$ref)] ?? {} : schema ?? {};
}

/** What a schema is, as one line of text and links. */
function describeType(schema) {
  if (!schema) return ["anything"];
  if (schema.$ref) {
    const name = lastName(schema.$ref);
    return [element("a", { href: "#" + anchor("schema", name), textContent: name })];
  }
  const options = schema.anyOf ?? schema.oneOf ?? schema.allOf;
  if (options) return options.flatMap((option, index) => (index ? [" or ", ...describeType(option)] : describeType(option)));
  if (schema.const !== undefined) return [code(JSON.stringify(schema.const))];
  if (schema.enum) return [schema.enum.map((value) => JSON.stringify(value)).join(", ")];
  if (schema.type === "array") return ["list of ", ...describeType(schema.items)];
  const limits = [
    ["format", ""], ["pattern", "pattern "], ["minimum", "≥ "], ["exclusiveMinimum", "> "], ["maximum", "≤ "],
    ["minLength", "at least "], ["maxLength", "at most "], ["maxItems", "at most "],
  ].filter(([name]) => schema[name] !== undefined).map(([name, words]) => words + schema[name]);
  return [[schema.type ?? "anything", ...limits].join(", ")];
}

/** An example of a schema: its own, or one made of its parts. */
function exampleOf(api, schema, depth = 0) {
  const resolved = resolve(api, schema);
  if (resolved.example !== undefined) return resolved.example;
  if (resolved.examples?.length) return resolved.examples[0];
  if (resolved.const !== undefined) return resolved.const;
  if (resolved.enum) return resolved.enum[0];
  if (depth > DEEPEST_EXAMPLE) return null;
  const options = resolved.anyOf ?? resolved.oneOf ?? resolved.allOf;
  if (options) return exampleOf(api, options[0], depth + 1);
  if (resolved.default !== undefined) return resolved.default;
  if (resolved.type === "array") return [exampleOf(api, resolved.items, depth + 1)];
  if (resolved.type === "object" || resolved.properties) {
    const members = Object.entries(resolved.properties ?? {});
    return Object.fromEntries(members.map(([name, member]) => [name, exampleOf(api, member, depth + 1)]));
  }
  return exampleOfPlain(resolved);
}

function exampleOfPlain(schema) {
  const formats = { uuid: "0198c0de-0000-7000-8000-000000000001", "date-time": "2026-08-01T12:00:00Z", date: "2026-08-01" };
  const types = { integer: 1, number: 1.5, boolean: true, null: null };
  return formats[schema.format] ?? (schema.type in types ? types[schema.type] : "text");
}

function fieldTable(rows) {
  if (!rows.length) return null;
  return element("table", {}, ...rows.map(([name, required, type, description]) =>
    element("tr", {},
      element("td", {}, code(name), required ? element("span", { className: "required", title: "required", textContent: " *" }) : ""),
      element("td", {}, ...type),
      element("td", { textContent: description ?? "" }))));
}

function schemaTable(schema) {
  const required = schema.required ?? [];
  return fieldTable(Object.entries(schema.properties ?? {}).map(([name, member]) =>
    [name, required.includes(name), describeType(member), member.description]));
}

function titled(title, ...children) {
  const shown = children.filter((child) => child !== null && child !== undefined);
  return shown.length ? element("div", {}, element("h4", { textContent: title }), ...shown) : null;
}

function contentParts(api, content) {
  return Object.entries(content ?? {}).flatMap(([type, { schema, example }]) => [
    element("p", {}, code(type), " ", ...describeType(schema)),
    schemaTable(resolve(api, schema)),
    type.includes("json") && !type.includes("problem") ? pre(example ?? exampleOf(api, schema)) : null,
  ]);
}

function curl(api, path, method, operation) {
  const lines = [`curl -X ${method.toUpperCase()} ${location.origin}${path}`, "-H 'Authorization: Bearer wst_…'"];
  const body = operation.requestBody?.content["application/json"];
  if (body) lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify(exampleOf(api, body.schema))}'`);
  return lines.join(" \\\n  ");
}

function operationSection(api, path, method, operation, isEvent) {
  const parameters = (operation.parameters ?? []).map((parameter) =>
    [`${parameter.name} (${parameter.in})`, parameter.required, describeType(parameter.schema), parameter.description]);
  const answers = Object.entries(operation.responses).flatMap(([status, response]) => [
    element("p", {}, code(status), " ", response.description),
    ...(/^[2]/.test(status) ? contentParts(api, response.content) : []),
  ]);
  const heading = element("summary", {},
    element("span", { className: `method ${method}`, textContent: isEvent ? "event" : method.toUpperCase() }),
    " ", code(path), " ", element("span", { className: "muted", textContent: isEvent ? "" : operation.summary }));
  const details = element("details", {}, heading, element("div", {},
    operation.description ? element("p", { textContent: operation.description }) : null,
    titled("Parameters", fieldTable(parameters)),
    titled("Body", ...contentParts(api, operation.requestBody?.content)),
    isEvent ? null : titled("Try", pre(curl(api, path, method, operation))),
    titled("Answers", ...answers)));
  return element("section", { className: "operation", id: anchor(isEvent ? "event" : method, path) }, details);
}

function collect(api, items, isEvent) {
  return Object.entries(items).flatMap(([path, methods]) =>
    METHODS.filter((method) => methods[method]).map((method) =>
      ({ tag: isEvent ? "outgoing events" : methods[method].tags[0], label: isEvent ? path : `${method.toUpperCase()} ${path}`,
        section: operationSection(api, path, method, methods[method], isEvent) })));
}

function schemaEntries(api) {
  return Object.entries(api.components.schemas).map(([name, schema]) => {
    const details = element("details", {}, element("summary", {}, code(name)), element("div", {},
      schema.description ? element("p", { textContent: schema.description }) : null,
      schemaTable(schema) ?? element("p", {}, ...describeType(schema)), pre(exampleOf(api, schema))));
    return { tag: "schemas", label: name, section: element("section", { className: "operation", id: anchor("schema", name) }, details) };
  });
}

function show(api) {
  const main = document.getElementById("document");
  const contents = document.getElementById("contents");
  main.replaceChildren(element("h1", { textContent: `${api.info.title} ${api.info.version}` }),
    ...api.info.description.split("\n\n").map((text) => element("p", { textContent: text })),
    element("p", {}, element("a", { href: "/openapi.json", textContent: "/openapi.json" })));
  const entries = [...collect(api, api.paths, false), ...collect(api, api.webhooks ?? {}, true), ...schemaEntries(api)];
  for (const tag of new Set(entries.map((entry) => entry.tag))) {
    main.append(element("h2", { textContent: tag }));
    contents.append(element("h2", { textContent: tag }));
    for (const entry of entries.filter((candidate) => candidate.tag === tag)) {
      entry.link = element("a", { href: "#" + entry.section.id, textContent: entry.label });
      contents.append(entry.link);
      main.append(entry.section);
    }
  }
  document.getElementById("search").addEventListener("input", (event) => filter(entries, event.target.value.toLowerCase()));
}

function filter(entries, words) {
  for (const entry of entries) {
    const hidden = !entry.section.textContent.toLowerCase().includes(words);
    entry.section.hidden = hidden;
    entry.link.hidden = hidden;
  }
}

function openTarget() {
  const target = location.hash && document.getElementById(location.hash.slice(1));
  if (!target) return;
  target.querySelector("details").open = true;
  target.scrollIntoView();
}

async function start() {
  const answer = await fetch("/openapi.json");
  if (!answer.ok) throw new Error(`/openapi.json answered ${answer.status}`);
  show(await answer.json());
  addEventListener("hashchange", openTarget);
  openTarget();
}

start().catch((error) => {
  document.getElementById("document").textContent = `The document cannot be shown: ${error.message}`;
});
