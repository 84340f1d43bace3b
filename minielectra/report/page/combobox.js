// A search field with a list of matches, after the ARIA pattern of a combobox with a list.

const MOST_MATCHES = 40;

/** label: of the field; find(text): the matches, in order; line(match): nodes of its line; choose(match). */
function combobox({ id, label, placeholder, find, line, choose }) {
  let matches = [],
    active = -1;
  const list = el("ul", { id: `${id}-list`, role: "listbox", "aria-label": label, hidden: true });
  const input = el("input", {
    id,
    type: "search",
    role: "combobox",
    placeholder,
    autocomplete: "off",
    autocapitalize: "off",
    spellcheck: "false",
    "aria-autocomplete": "list",
    "aria-expanded": "false",
    "aria-controls": list.id,
    input: () => open(),
    focus: () => input.value && open(),
    blur: () => close(),
    keydown: (event) => press(event),
  });
  const status = el("span", { class: "unseen", role: "status" });

  function open() {
    matches = find(input.value);
    active = matches.length ? 0 : -1;
    const option = (match, i) =>
      el(
        "li",
        {
          id: `${id}-${i}`,
          role: "option",
          pointerdown: (event) => {
            event.preventDefault();
            take(i);
          },
        },
        line(match),
      );
    list.replaceChildren(...matches.slice(0, MOST_MATCHES).map(option));
    if (matches.length > MOST_MATCHES)
      list.append(
        el(
          "li",
          { class: "more", role: "presentation" },
          `and ${spaced(matches.length - MOST_MATCHES)} more`,
        ),
      );
    if (!matches.length)
      list.append(el("li", { class: "more", role: "presentation" }, "no such token in the vocabulary"));
    status.textContent = `${plural("match", matches.length).replace("matchs", "matches")}`;
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    highlight();
  }

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function highlight() {
    [...list.children].forEach(
      (node, i) => node.role === "option" && node.setAttribute("aria-selected", i === active),
    );
    if (active < 0) return input.removeAttribute("aria-activedescendant");
    input.setAttribute("aria-activedescendant", `${id}-${active}`);
    list.children[active].scrollIntoView({ block: "nearest" });
  }

  function take(i) {
    choose(matches[i]);
    input.value = "";
    close();
  }

  function press(event) {
    const shown = Math.min(matches.length, MOST_MATCHES),
      isOpen = !list.hidden;
    if (event.key === "ArrowDown" && !isOpen) open();
    else if (event.key === "ArrowDown" && shown) active = (active + 1) % shown;
    else if (event.key === "ArrowUp" && isOpen && shown) active = (active + shown - 1) % shown;
    else if (event.key === "Enter" && isOpen && active >= 0) take(active);
    else if (event.key === "Escape" && isOpen) close();
    else return;
    event.preventDefault();
    if (!list.hidden) highlight();
  }

  return el("div", { class: "combobox" }, el("label", { for: id }, label), input, list, status);
}
