// What a mark of a plot stands for, shown when a pointer rests on it.
for (const mark of document.querySelectorAll('svg [role="graphics-symbol"][aria-label]')) {
  const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
  title.textContent = mark.getAttribute("aria-label");
  mark.append(title);
}
window.addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
