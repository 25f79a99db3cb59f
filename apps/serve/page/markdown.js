// Markdown as chat models write it -> DOM nodes. Text only ever becomes text nodes: nothing in it can act.

const element = (name, ...children) => {
  const node = document.createElement(name);
  node.append(...children);
  return node;
};

const kInline = /(`+)([^`](?:.*?[^`])?)\1(?!`)|\*\*(.+?)\*\*|__(.+?)__|\*([^\s*](?:.*?[^\s*])?)\*|~~(.+?)~~|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/s;

function inline(text) {
  const nodes = [];
  for (;;) {
    const found = kInline.exec(text);
    if (!found) return text ? [...nodes, text] : nodes;
    if (found.index > 0) nodes.push(text.slice(0, found.index));
    const [, , code, bold, bold2, italic, struck, label, url] = found;
    if (code !== undefined) nodes.push(element("code", code.trim()));
    else if (bold ?? bold2) nodes.push(element("strong", ...inline(bold ?? bold2)));
    else if (italic) nodes.push(element("em", ...inline(italic)));
    else if (struck) nodes.push(element("del", ...inline(struck)));
    else {
      const link = element("a", ...inline(label));
      link.href = url;
      link.rel = "noreferrer noopener";
      link.target = "_blank";
      nodes.push(link);
    }
    text = text.slice(found.index + found[0].length);
  }
}

const kItem = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;

// Items of one list from lines[at] on, deeper ones inside; returns the node and the line behind it.
function list(lines, at) {
  const [, indent, mark] = kItem.exec(lines[at]);
  const ordered = /\d/.test(mark);
  const node = element(ordered ? "ol" : "ul");
  if (ordered) node.start = parseInt(mark, 10);
  while (at < lines.length) {
    const found = kItem.exec(lines[at]);
    if (!found || found[1].length < indent.length) break;
    if (found[1].length > indent.length && node.lastChild) {
      const [inner, next] = list(lines, at);
      node.lastChild.append(inner);
      at = next;
    } else {
      node.append(element("li", ...inline(found[3])));
      ++at;
    }
  }
  return [node, at];
}

const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());

// "---", ":--", ":-:", "--:"
const alignment = (cell = "") => (cell.endsWith(":") ? (cell.startsWith(":") ? "center" : "right") : cell.startsWith(":") ? "left" : "");

function table(lines, at) {
  const aligned = cells(lines[at + 1]).map(alignment);
  const row = (name, line) => element("tr", ...cells(line).map((text, column) => {
    const cell = element(name, ...inline(text));
    cell.style.textAlign = aligned[column] ?? "";
    return cell;
  }));
  const node = element("table", row("th", lines[at]));
  for (at += 2; at < lines.length && lines[at].includes("|"); ++at) node.append(row("td", lines[at]));
  return [node, at];
}

function fence(lines, at) {
  const mark = lines[at].trim().match(/^(`{3,}|~{3,})/)[1];
  let end = at + 1;
  while (end < lines.length && !lines[end].trim().startsWith(mark)) ++end;
  return [element("pre", element("code", lines.slice(at + 1, end).join("\n"))), end + 1];
}

function block(lines, at) {
  const line = lines[at];
  const heading = /^(#{1,6})\s+(.*)$/.exec(line);
  if (heading) return [element(`h${Math.min(6, heading[1].length + 1)}`, ...inline(heading[2])), at + 1];
  if (/^\s*(`{3,}|~{3,})/.test(line)) return fence(lines, at);
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(line)) return [element("hr"), at + 1];
  if (kItem.test(line)) return list(lines, at);
  if (line.includes("|") && /^[\s|:-]*-[\s|:-]*$/.test(lines[at + 1] ?? "")) return table(lines, at);
  if (line.startsWith(">")) {
    let end = at;
    while (end < lines.length && lines[end].startsWith(">")) ++end;
    const inner = lines.slice(at, end).map((quoted) => quoted.replace(/^> ?/, ""));
    return [element("blockquote", ...markdown(inner.join("\n"))), end];
  }
  let end = at + 1;
  while (end < lines.length && lines[end].trim() && !/^(#{1,6}\s|\s*(`{3}|~{3})|>)/.test(lines[end]) && !kItem.test(lines[end])) ++end;
  return [element("p", ...inline(lines.slice(at, end).join("\n"))), end];
}

export function markdown(text) {
  const lines = text.split("\n");
  const nodes = [];
  for (let at = 0; at < lines.length;) {
    if (!lines[at].trim()) {
      ++at;
      continue;
    }
    const [node, next] = block(lines, at);
    nodes.push(node);
    at = next;
  }
  return nodes;
}
