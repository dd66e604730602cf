// Elements of the page. What comes from elsewhere becomes text, never markup.
const SVG = "http://www.w3.org/2000/svg";

export const by = (id) => document.getElementById(id);

/** An element with attributes and content: text, or other elements. */
export function element(name, attributes = {}, ...content) {
  return filled(document.createElement(name), attributes, content);
}

/** The same within a drawing. */
export function drawn(name, attributes = {}, ...content) {
  return filled(document.createElementNS(SVG, name), attributes, content);
}

function filled(made, attributes, content) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

/** Show an element with this text, or hide it where there is none. */
export function tell(shown, text) {
  shown.textContent = text;
  shown.hidden = !text;
}

/** Whether somebody says yes in a dialog; Escape is no. */
export function asked(dialog) {
  return new Promise((done) => {
    let yes = false;
    const close = (answer) => ((yes = answer), dialog.close());
    dialog.querySelector("form").onsubmit = (event) => (event.preventDefault(), close(true));
    dialog.querySelector("[value=no]").onclick = () => close(false);
    // The event comes somewhat later than the closing: of another question, perhaps.
    dialog.onclose = () => dialog.open || done(yes);
    dialog.showModal();
  });
}
