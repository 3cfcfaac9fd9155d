// Equations: from \( \) and \[ \], which arithmatex writes, to KaTeX. Everything lies in this folder; no network is asked.
document.addEventListener("DOMContentLoaded", () =>
  renderMathInElement(document.body, {
    delimiters: [
      { left: "\\(", right: "\\)", display: false },
      { left: "\\[", right: "\\]", display: true },
    ],
  }),
);
