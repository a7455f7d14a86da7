"use strict";
(() => {
  const api = JSON.parse(document.getElementById("document").textContent);
  const token = document.getElementById("token");
  const METHODS = ["get", "post", "put", "patch", "delete"];

  // Texts become text nodes: nothing of the document or of an answer is ever read as markup.
  const make = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children.filter((child) => child !== null));
    return element;
  };
  const resolve = (schema) =>
    schema && schema.$ref ? api.components.schemas[schema.$ref.split("/").pop()] : schema || {};

  const kind = (given) => {
    const schema = resolve(given);
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    const types = [].concat(schema.type || "any").join(" or ");
    if (schema.items) return types.replace("array", `array of ${kind(schema.items)}`);
    return schema.pattern ? `${types} ${schema.pattern}` : types;
  };

  const shape = (given, depth = 0) => {
    const schema = resolve(given);
    if (schema.oneOf || schema.anyOf) {
      const known = (schema.oneOf || schema.anyOf).find((one) => resolve(one).type !== "null");
      return shape(known, depth);
    }
    if (schema.items) return shape(schema.items, depth);
    if (!schema.properties || depth > 6) return null;
    const list = make("ul", { class: "shape" });
    for (const [name, property] of Object.entries(schema.properties)) {
      const needed = (schema.required || []).includes(name) ? "" : ", may be left out";
      const text = resolve(property).description || property.description || "";
      list.append(
        make("li", {}, make("code", {}, name), make("span", { class: "soft" }, ` ${kind(property)}${needed} `), text,
          shape(property, depth + 1)));
    }
    return list;
  };

  const sample = (given, depth = 0) => {
    const schema = resolve(given);
    if (!schema.properties || depth > 3) return schema.items ? [] : null;
    const needed = schema.required || [];
    return Object.fromEntries(
      Object.entries(schema.properties).filter(([name]) => needed.includes(name))
        .map(([name, property]) => [name, resolve(property).type === "string" ? "" : sample(property, depth + 1)]));
  };

  const parameters = (operation) => {
    if (!operation.parameters) return null;
    const rows = operation.parameters.map((one) =>
      make("tr", {},
        make("td", {}, make("code", {}, one.name), one.required ? " (required)" : ""),
        make("td", { class: "soft" }, kind(one.schema)),
        make("td", {}, one.description || "")));
    const head = make("thead", {}, make("tr", {}, ...["Parameter", "Type", "What"].map((text) =>
      make("th", { scope: "col" }, text))));
    return make("div", {}, make("h3", {}, "Parameters"), make("table", {}, head, make("tbody", {}, ...rows)));
  };

  const answers = (operation) => {
    const box = make("div", {}, make("h3", {}, "Answers"));
    for (const [status, answer] of Object.entries(operation.responses)) {
      const content = Object.values(answer.content || {})[0];
      const inside = content && status < 400 ? shape(content.schema) : null;
      box.append(make("div", {}, make("code", {}, status), ` ${answer.description}`, inside));
    }
    return box;
  };

  const attempt = (method, path, operation) => {
    const form = make("form", { class: "try" }, make("h3", {}, "Try it"));
    const fields = (operation.parameters || []).map((one) => {
      const input = make("input", { autocomplete: "off", spellcheck: "false" });
      form.append(make("label", {}, `${one.name} (${one.in})`, input));
      return { one, input };
    });
    let body = null;
    if (operation.requestBody) {
      body = make("textarea", { spellcheck: "false" });
      body.value = JSON.stringify(sample(operation.requestBody.content["application/json"].schema), null, 2);
      form.append(make("label", {}, "Body (JSON)", body));
    }
    const send = make("button", { type: "submit" }, "Send");
    const result = make("pre", { hidden: "", role: "status", tabindex: "0" });
    form.append(send, result);
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      let target = path;
      const query = new URLSearchParams();
      for (const { one, input } of fields) {
        if (one.in === "path") target = target.replace(`{${one.name}}`, encodeURIComponent(input.value));
        else if (input.value !== "") query.set(one.name, input.value);
      }
      const headers = {};
      if (token.value) headers.authorization = `Bearer ${token.value.trim()}`;
      if (body) headers["content-type"] = "application/json";
      const asked = [...query].length ? `${target}?${query}` : target;
      result.hidden = false;
      result.textContent = "…";
      send.disabled = true;
      try {
        const options = { method: method.toUpperCase(), headers, credentials: "omit", cache: "no-store" };
        if (body) options.body = body.value;
        const answer = await fetch(asked, options);
        const text = await answer.text();
        let shown = text;
        try { shown = JSON.stringify(JSON.parse(text), null, 2); } catch { /* It is no JSON: shown as it is. */ }
        result.textContent = `${answer.status} ${answer.statusText}\n\n${shown}`;
      } catch (error) {
        result.textContent = `No answer: ${error.message}`;
      }
      send.disabled = false;
    });
    return form;
  };

  const route = (method, path, operation) => {
    const inside = make("div");
    const details = make("details", { class: "route" },
      make("summary", {},
        make("span", { class: `method ${method.toUpperCase()}` }, method.toUpperCase()),
        make("code", {}, path), make("span", { class: "soft" }, ` ${operation.summary || ""}`)),
      inside);
    details.dataset.text = `${method} ${path} ${operation.summary} ${operation.tags}`.toLowerCase();
    // What nobody opens is not built.
    details.addEventListener("toggle", () => {
      if (!details.open || inside.hasChildNodes()) return;
      const body = operation.requestBody;
      const parts = [
        operation.description ? make("p", {}, operation.description) : null,
        operation.security ? null : make("p", { class: "note" }, "Wants no token."),
        parameters(operation),
        body ? make("div", {}, make("h3", {}, "Body"), shape(body.content["application/json"].schema) || "") : null,
        answers(operation),
        attempt(method, path, operation),
      ];
      inside.append(...parts.filter((part) => part !== null));
    });
    return details;
  };

  document.getElementById("version").textContent = api.info.version;
  document.getElementById("about").textContent = api.info.description;
  const main = document.getElementById("routes");
  const groups = document.getElementById("groups");
  for (const { name } of api.tags) {
    const id = `group-${name.replaceAll(" ", "-")}`;
    const section = make("section", { id, "aria-labelledby": `${id}-title` }, make("h2", { id: `${id}-title` }, name));
    for (const [path, item] of Object.entries(api.paths)) {
      for (const method of METHODS) {
        if (item[method] && item[method].tags.includes(name)) section.append(route(method, path, item[method]));
      }
    }
    main.append(section);
    groups.append(make("a", { href: `#${id}` }, name));
  }
  document.getElementById("keys").addEventListener("submit", (event) => event.preventDefault());
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const details of main.querySelectorAll("details.route")) {
      details.hidden = !details.dataset.text.includes(wanted);
    }
    for (const section of main.children) section.hidden = !section.querySelector("details.route:not([hidden])");
  });
})();
